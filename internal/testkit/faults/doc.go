// Package faults holds the table of what can go wrong with the Provisioner, and how each has to end: tests alone, on Linux, where disks
// can be full and folders read-only.
package faults
