package cli

import (
	"fmt"
	"strings"
	"sync"

	"github.com/leastkey/leastkey/internal/domain/api"
)

// progress tells the story of a run on stderr while it happens: a line for each step that ended and, where the terminal can redraw,
// one live line below with what is under way. Events may come from several goroutines.
type progress struct {
	mu      sync.Mutex
	p       *printer
	live    bool
	drawn   bool              // the live line is on the screen
	running []api.Event       // steps begun and not ended, in the order of their beginning
	said    map[string]string // step → the last wait that was told, where there is no live line
}

func (c *command) progress() *progress {
	return &progress{p: c.err, live: c.streams.Live, said: map[string]string{}}
}

// event takes one event.
func (g *progress) event(e api.Event) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.erase()
	switch e.Status {
	case api.Begun, api.Waiting:
		g.begin(e)
		if e.Status == api.Waiting && !g.live && g.said[e.Step] != e.Detail {
			g.said[e.Step] = e.Detail
			g.line(e)
		}
	default:
		g.finish(e.Step)
		g.line(e)
	}
	g.draw()
}

// close leaves the screen with whole lines only. Later events are told as before.
func (g *progress) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.erase()
	g.running = nil
}

func (g *progress) begin(e api.Event) {
	for i, r := range g.running {
		if r.Step == e.Step {
			if e.Title == "" {
				e.Title = r.Title
			}
			g.running[i] = e
			return
		}
	}
	g.running = append(g.running, e)
}

func (g *progress) finish(step string) {
	for i, r := range g.running {
		if r.Step == step {
			g.running = append(g.running[:i:i], g.running[i+1:]...)
			return
		}
	}
}

func (g *progress) line(e api.Event) {
	word, st := statusWord(e.Status)
	title := e.Title
	if title == "" {
		title = e.Step
	}
	text := sentence(title, e.Detail)
	if e.MS > 0 {
		text += " (" + took(e.MS) + ")"
	}
	g.p.item(2, st, word, 10, text)
}

// draw puts what is under way on the last line, cut to the width so that it can be erased.
func (g *progress) draw() {
	if !g.live || len(g.running) == 0 {
		return
	}
	var parts []string
	for _, e := range g.running {
		s := e.Title
		if e.Status == api.Waiting && e.Detail != "" {
			s += " (" + e.Detail + ")"
		}
		parts = append(parts, s)
	}
	text := "  ... " + clean(strings.Join(parts, "; "))
	if len(parts) > 1 {
		text = fmt.Sprintf("  ... %d at once: %s", len(parts), clean(strings.Join(parts, "; ")))
	}
	g.p.raw("\r" + cut(text, g.width()-1))
	g.drawn = true
}

func (g *progress) width() int {
	if g.p.width == 0 {
		return 80
	}
	return g.p.width
}

func (g *progress) erase() {
	if g.drawn {
		g.p.raw("\r\x1b[K")
		g.drawn = false
	}
}

// cut shortens a text to so many columns.
func cut(s string, room int) string {
	if cells(s) <= room {
		return s
	}
	used := 0
	for i, r := range s {
		if used+runeCells(r) > room-3 {
			return s[:i] + "..."
		}
		used += runeCells(r)
	}
	return s
}
