//go:build !unix

package main

import (
	"os"
	"time"
)

// largest is not known on this system.
func largest(*os.ProcessState) int64 { return 0 }

// processorTime is not known on this system.
func processorTime() time.Duration { return 0 }
