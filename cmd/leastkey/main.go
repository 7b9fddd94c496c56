// Command leastkey gives each AI agent on Azure an identity of its own, with no secret anywhere.
package main

import (
	"os"

	"github.com/leastkey/leastkey/internal/app"
)

func main() { os.Exit(app.Main(os.Args[1:])) }
