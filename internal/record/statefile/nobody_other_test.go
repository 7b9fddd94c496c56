//go:build unix && !linux

package statefile

import "testing"

// asNobody can be shown on Linux alone; who is not root needs no help here.
func asNobody(t *testing.T, _ string, _ func()) { t.Log("only for whoever is not root") }
