// Package crash holds the crash matrix: tests alone, for systems that have SIGKILL.
package crash
