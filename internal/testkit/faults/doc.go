// Package faults holds the table of what can go wrong with the Provisioner, and how each has to end; what is seen of the legacy secret while it
// is migrated away; and what the token command prints, whatever happens: tests alone, on Linux, where disks can be full and processes looked at.
package faults
