package clients

import (
	"context"
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
	var all tally
	histories := seen.histories()
	for _, h := range histories {
		fmt.Printf("clients: %s %s\n", h.client, h.tally())
		all = all.plus(h.tally())
	}
	whole := flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.skip").Value.String() == ""
	switch {
	case code != 0 || all.failed > 0:
		fmt.Println("The table is not compared, because something has failed.")
		code = max(code, 1)
	case whole:
		if err := table(histories).settle(*write); err != nil {
			fmt.Println(err)
			code = 1
		}
	case *write:
		fmt.Println("-write needs a run of all clients.")
		code = 1
	}
	fmt.Printf("clients: %s\n", all)
	os.Exit(code)
}
