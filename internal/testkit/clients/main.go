package clients

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/leastkey/leastkey/internal/testkit/product"
)

var (
	write  = flag.Bool("write", false, "write docs/local-cloud-coverage.md instead of comparing it")
	binary = sync.OnceValues(build)
	built  string // the folder of the binary; "" before it is built
)

func build() (string, error) {
	dir, err := os.MkdirTemp("", "leastkey-clients-")
	if err != nil {
		return "", err
	}
	built = dir
	return product.Build(context.Background(), dir)
}

// Main runs the tests of the package, compares or writes the table, and prints the verdict, which is the last line.
func Main(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if built != "" {
		if err := os.RemoveAll(built); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	histories := seen.histories()
	for _, h := range histories {
		fmt.Printf("clients: %s %s\n", h.client, h.tally())
	}
	all, code, why := verdict(code, histories, func() error {
		switch {
		case flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.skip").Value.String() == "":
			return table(histories).settle(*write)
		case *write:
			return errors.New("-write needs a run of all clients")
		}
		return nil
	})
	if why != nil {
		fmt.Println(why)
	}
	fmt.Printf("clients: %s\n", all)
	os.Exit(code)
}

// verdict counts what has happened and gives the code to exit with, and what to say where it is not 0. settle compares the table, or
// writes it; a run that has failed tells nothing about it. Whatever fails the run counts, also where it was no operation.
func verdict(code int, histories []history, settle func() error) (all tally, exit int, why error) {
	for _, h := range histories {
		all = all.plus(h.tally())
	}
	if code != 0 || all.failed > 0 {
		all.failed = max(all.failed, 1)
		return all, max(code, 1), errors.New("the table is not compared, because something has failed")
	}
	if err := settle(); err != nil {
		all.failed = 1
		return all, 1, err
	}
	return all, 0, nil
}
