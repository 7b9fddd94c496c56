package cli

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// style is how a word looks where colour is shown. The word says the same without it.
type style string

const (
	plain style = ""
	bold  style = "1"
	dim   style = "2"
	red   style = "31"
	green style = "32"
	amber style = "33"
)

// printer writes text for people. Every text passes clean, so nothing from outside reaches the terminal as it is. It remembers the
// first error, because an answer that was not written is a failure.
type printer struct {
	w     io.Writer
	width int // 0 means no limit
	color bool
	err   error
}

func (p *printer) raw(s string) {
	if _, err := io.WriteString(p.w, s); err != nil && p.err == nil {
		p.err = err
	}
}

// Write passes bytes through; it is for completion scripts and JSON, which were made safe before.
func (p *printer) Write(b []byte) (int, error) {
	n, err := p.w.Write(b)
	if err != nil && p.err == nil {
		p.err = err
	}
	return n, err
}

func (p *printer) paint(s string, st style) string {
	if !p.color || st == plain || s == "" {
		return s
	}
	return "\x1b[" + string(st) + "m" + s + "\x1b[0m"
}

func (p *printer) blank() { p.raw("\n") }

// line writes one paragraph at the left margin.
func (p *printer) line(format string, a ...any) { p.styled(plain, format, a...) }

func (p *printer) styled(st style, format string, a ...any) {
	for _, l := range wrap(clean(fmt.Sprintf(format, a...)), p.width) {
		p.raw(p.paint(l, st) + "\n")
	}
}

// item writes a label and a text that hangs beside it: indent columns, then the label in as many columns as given, then the text.
func (p *printer) item(indent int, st style, label string, columns int, text string) {
	label = clean(label)
	pad := strings.Repeat(" ", max(columns-cells(label), 1))
	hang := indent + cells(label) + len(pad)
	room := p.width
	if room > 0 {
		room = max(room-hang, 20)
	}
	lines := wrap(clean(text), room)
	p.raw(strings.TrimRight(strings.Repeat(" ", indent)+p.paint(label, st)+pad+lines[0], " ") + "\n")
	for _, l := range lines[1:] {
		p.raw(strings.Repeat(" ", hang) + l + "\n")
	}
}

// text writes a paragraph at an indent.
func (p *printer) text(indent int, st style, text string) {
	room := p.width
	if room > 0 {
		room = max(room-indent, 20)
	}
	for _, l := range wrap(clean(text), room) {
		p.raw(strings.Repeat(" ", indent) + p.paint(l, st) + "\n")
	}
}

// wrap breaks a text between words; a word that is longer than the room, such as a scope, breaks after a slash or where it must. A
// room of 0 does not break. There is always one line.
func wrap(text string, room int) []string {
	if room <= 0 || cells(text) <= room {
		return []string{text}
	}
	var lines []string
	line, used := "", 0
	flush := func() {
		if line != "" {
			lines = append(lines, line)
		}
		line, used = "", 0
	}
	for word := range strings.FieldsSeq(text) {
		w := cells(word)
		if used > 0 && used+1+w <= room {
			line, used = line+" "+word, used+1+w
			continue
		}
		flush()
		for cells(word) > room {
			head := breakWord(word, room)
			lines, word = append(lines, head), word[len(head):]
		}
		line, used = word, cells(word)
	}
	flush()
	if lines == nil {
		return []string{""}
	}
	return lines
}

// breakWord gives the part of a too long word that fits: up to its last slash in the further half of the room, else as much as goes.
func breakWord(word string, room int) string {
	used, end, slash := 0, 0, 0
	for i, r := range word {
		if used+runeCells(r) > room {
			break
		}
		used += runeCells(r)
		end = i + len(string(r))
		if r == '/' && used > room/2 {
			slash = end
		}
	}
	if slash > 0 {
		return word[:slash]
	}
	return word[:max(end, 1)]
}

// when is a time as people read it; the zero time is a dash.
func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// took is a duration in milliseconds as people read it.
func took(ms int64) string {
	if ms >= 10_000 {
		return fmt.Sprintf("%.1f s", float64(ms)/1000)
	}
	return fmt.Sprintf("%d ms", ms)
}

// orDash stands in for nothing.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
