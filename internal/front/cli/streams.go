package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// Streams are where a command reads and writes. The zero value of each field but the first three is right for a pipe.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	Terminal bool // a person sits there: In and Err are a terminal, so questions can be asked
	Live     bool // Err can redraw its last line
	Color    bool // Out and Err show colour
	Width    int  // columns of Out; 0 means no limit, as in a pipe, where lines are never wrapped
	ErrWidth int  // columns of Err, likewise
}

// Standard is the streams of the process. getenv reads NO_COLOR (https://no-color.org) and TERM.
func Standard(getenv func(string) string) Streams {
	s := Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	in, out, story := term.IsTerminal(int(os.Stdin.Fd())), term.IsTerminal(int(os.Stdout.Fd())), term.IsTerminal(int(os.Stderr.Fd()))
	dumb := getenv("TERM") == "dumb"
	s.Terminal = in && story
	s.Live = story && !dumb
	s.Color = out && story && !dumb && getenv("NO_COLOR") == ""
	s.Width, s.ErrWidth = columns(os.Stdout), columns(os.Stderr)
	return s
}

// columns is the width of a terminal, 0 for everything else.
func columns(f *os.File) int {
	w, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return max(w, 0)
}

// Secret asks for a passphrase without echo. Where nobody sits at a terminal it refuses: a passphrase that comes through a pipe has
// been in a file or in another process's memory.
func (s Streams) Secret(ctx context.Context, question string) (secret.Value, error) {
	f, ok := s.In.(*os.File)
	if !s.Terminal || !ok {
		return secret.Value{}, fault.New(fault.Refused, "a passphrase is needed and there is no terminal to ask on",
			"name an age identity file with --age-identity")
	}
	before, err := term.GetState(int(f.Fd()))
	if err != nil {
		return secret.Value{}, fmt.Errorf("ask for passphrase: %w", err)
	}
	fmt.Fprint(s.Err, clean(question)+": ")
	type answer struct {
		b   []byte
		err error
	}
	read := make(chan answer, 1)
	go func() { // a read of a terminal cannot be cancelled; the goroutine ends with the process
		b, err := term.ReadPassword(int(f.Fd()))
		read <- answer{b, err}
	}()
	select {
	case a := <-read:
		fmt.Fprintln(s.Err)
		if a.err != nil {
			return secret.Value{}, fmt.Errorf("ask for passphrase: %w", a.err)
		}
		return secret.New(a.b), nil
	case <-ctx.Done():
		fmt.Fprintln(s.Err)
		return secret.Value{}, errors.Join(ctx.Err(), term.Restore(int(f.Fd()), before))
	}
}
