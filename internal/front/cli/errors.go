package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

// usageError is a command line that cannot be carried out as it was written: exit code 2, and nothing was done.
type usageError struct {
	message string
	hint    string
}

func (e *usageError) Error() string { return e.message }

func usage(hint, format string, a ...any) error {
	return &usageError{message: fmt.Sprintf(format, a...), hint: hint}
}

// ended is an answer that was given in full and asks for an exit code of its own.
type ended int

func (e ended) Error() string { return fmt.Sprintf("ended with exit code %d", int(e)) }

// end turns an exit code into what a command returns.
func end(code int) error {
	if code == api.ExitDone {
		return nil
	}
	return ended(code)
}

// missing is the answer of a command whose part of the world is not there.
func missing(what string) error {
	return fault.New(fault.Unsupported, what+" is not part of this build", "")
}

// exit prints the error, if there is one to print, and gives the exit code.
func (c *command) exit(ctx context.Context, err error) int {
	var code ended
	var wrong *usageError
	switch {
	case err == nil || errors.As(err, &code):
		if c.out.err != nil {
			c.complain("cannot write the answer: "+c.out.err.Error(), "")
			return api.ExitFailed
		}
		return int(code)
	case c.brief:
		c.inOneLine(err)
		return api.ExitFailed
	case errors.As(err, &wrong):
		c.complain(wrong.message, wrong.hint)
		return api.ExitUsage
	case fault.Is(err, fault.Stopped):
		hint := fault.Hint(err)
		if hint == "" {
			hint = "run the same command again; it continues where this one stopped"
		}
		c.complain(err.Error(), hint)
		return api.ExitStopped
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		c.complain("interrupted", fault.Hint(err))
		return api.ExitInterrupted
	}
	c.complain(err.Error(), fault.Hint(err))
	return api.ExitCode(err)
}

// complain writes an error and its hint. An error of many lines, such as a spec with several problems, keeps them, indented: a name
// from outside that holds a line end cannot forge a hint of ours at the margin.
func (c *command) complain(message, hint string) {
	lines := strings.Split(strings.TrimRight(message, "\n"), "\n")
	c.err.item(0, red, "leastkey: error:", 0, lines[0])
	for _, l := range lines[1:] {
		c.err.text(2, plain, strings.TrimSpace(l))
	}
	if hint != "" {
		c.err.item(0, bold, "leastkey: hint:", 0, hint)
	}
}

// inOneLine writes the error and its hint in a single line, however long it is.
func (c *command) inOneLine(err error) {
	hint := fault.Hint(err)
	if wrong, ok := errors.AsType[*usageError](err); ok {
		hint = wrong.hint
	}
	said := strings.Join(strings.Fields(err.Error()), " ")
	if hint != "" {
		said += " (" + strings.Join(strings.Fields(hint), " ") + ")"
	}
	c.err.width = 0
	c.complain(said, "")
}
