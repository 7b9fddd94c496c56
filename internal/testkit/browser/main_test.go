package browser

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// write has the pictures of docs/screenshots made anew: go test ./internal/testkit/browser -args -write
var write = flag.Bool("write", false, "make the pictures of docs/screenshots anew")

// product is the built binary.
var binary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	dir, err := os.MkdirTemp("", "leastkey-browser")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if binary, err = build(ctx, dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// shots is where pictures go.
func shots(t *testing.T) Shots {
	t.Helper()
	if !*write {
		return ""
	}
	dir, err := filepath.Abs(filepath.Join("..", "..", "..", "docs", "screenshots"))
	if err != nil {
		t.Fatal(err)
	}
	return Shots(dir)
}
