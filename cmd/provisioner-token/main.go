// Command provisioner-token prints an access token of the Provisioner, alone on stdout.
package main

import (
	"os"

	"github.com/leastkey/leastkey/internal/app"
)

func main() { os.Exit(app.ProvisionerTokenMain(os.Args[1:])) }
