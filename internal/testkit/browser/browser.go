// Package browser drives Chromium through the pages of the built product, as a person would, and looks at each of them: what the console
// says, what the accessibility checker axe finds, in both colour schemes, and whether it fits a narrow telephone.
package browser

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// patience bounds every wait.
const patience = 90 * time.Second

// Browser is one Chromium with a new profile, and one tab in it.
type Browser struct {
	*testing.T
	base string // URL of the server
	axe  string // source of axe-core
	ctx  context.Context

	mu   sync.Mutex
	said []string // by the console: errors, warnings and exceptions
}

// chromium is the program.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("there is no chromium here: script/deps.sh installs it (Debian package chromium)")
	return ""
}

// Open starts a browser for a server.
func Open(t *testing.T, base string) *Browser {
	t.Helper()
	profile := t.TempDir()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium(t)), chromedp.UserDataDir(profile), chromedp.WindowSize(1200, 900),
		chromedp.NoInheritEnv, chromedp.Env("HOME="+profile, "PATH="+os.Getenv("PATH"), "TZ=UTC", "LANG=C.UTF-8"), chromedp.Flag("hide-scrollbars", true))
	if os.Geteuid() == 0 { // Chromium refuses its sandbox to root
		options = append(options, chromedp.NoSandbox)
	}
	b := &Browser{T: t, base: base, axe: axe(t)}
	allocator, end := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, closeTab := chromedp.NewContext(allocator, chromedp.WithListener(b.hear))
	b.ctx = ctx
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx)
		closeTab()
		end()
	})
	b.must(chromedp.Do(ctx)) // the browser's life is this context's, not a step's
	b.Scheme("light")
	return b
}

// hear keeps what the console says that is not for information. A policy that was broken is among it, as an error of the source "security".
func (b *Browser) hear(event any) {
	text := ""
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "warning" || e.Type == "assert" {
			text = string(e.Type)
			for _, a := range e.Args {
				text += " " + string(a.Value) + a.Description
			}
		}
	case *runtime.EventExceptionThrown:
		text = "exception " + e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == "error" || e.Entry.Level == "warning" {
			text = fmt.Sprintf("%s %s: %s (%s)", e.Entry.Level, e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	}
	if text != "" {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.said = append(b.said, text)
	}
}

// Said gives what the console has said, and forgets it.
func (b *Browser) Said() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	said := b.said
	b.said = nil
	return said
}

func (b *Browser) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatalf("%v\nconsole: %q\nthe page: %s", err, b.Said(), b.where())
	}
}

// where is the address and the text of the page, for a failure.
func (b *Browser) where() string {
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("location.href + '\\n' + document.body.innerText"))
	if err != nil {
		return err.Error()
	}
	return text
}

// do runs steps within the time that anything may take.
func (b *Browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	b.must(chromedp.Do(ctx, steps...))
}

// Go goes to an address of the server, which has to answer with a status.
func (b *Browser) Go(path string, status int64) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	res, err := chromedp.RunResponse(ctx, chromedp.Navigate(b.base+path))
	b.must(err)
	if res == nil || res.Status != status {
		b.Fatalf("%s answers %+v, want %d: %s", path, res, status, b.where())
	}
}

// Visit goes to an address that may be another place on the page that is shown.
func (b *Browser) Visit(path string) {
	b.Helper()
	b.do(chromedp.Navigate(b.base + path))
}

// control is the XPath of a button, a link or a label by its text.
func control(text string) chromedp.Search {
	return chromedp.Search(fmt.Sprintf(`//main//button[normalize-space(.)=%q] | //main//a[normalize-space(.)=%q] | //main//label[starts-with(normalize-space(.),%q)]`, text, text, text))
}

// Click clicks on a control, and waits for the page to which that leads.
func (b *Browser) Click(text string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	_, err := chromedp.RunResponse(ctx, chromedp.Click(control(text)))
	if err != nil {
		err = fmt.Errorf("click on %q: %w", text, err)
	}
	b.must(err)
}

// Tick clicks on a control that leads nowhere: a box, or a choice.
func (b *Browser) Tick(text string) {
	b.Helper()
	b.do(chromedp.Click(control(text)))
}

// Fill writes into a field, in place of what is there.
func (b *Browser) Fill(id, text string) {
	b.Helper()
	b.do(chromedp.Clear(chromedp.ID(id)), chromedp.SendKeys(chromedp.ID(id), text))
}

// Choose takes the entry of a list that begins with the text.
func (b *Browser) Choose(id, text string) {
	b.Helper()
	b.do(chromedp.SendKeys(chromedp.ID(id), text))
}

// Text is what the page says.
func (b *Browser) Text() string {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("document.querySelector('main').innerText"))
	b.must(err)
	return text
}

// Await waits until the page says something. The page may change meanwhile, and another one may come.
func (b *Browser) Await(want string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	for look := time.NewTicker(50 * time.Millisecond); ; {
		text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.readyState === "complete" ? document.querySelector("main").innerText : ""`))
		if err == nil && strings.Contains(text, want) {
			look.Stop()
			return
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			look.Stop()
			b.must(fmt.Errorf("the page never says %q: %w", want, ctx.Err()))
		}
	}
}

// Says fails the test if the page does not say everything; "!x" is what it must not say.
func (b *Browser) Says(wants ...string) {
	b.Helper()
	text := b.Text()
	for _, want := range wants {
		if not, no := strings.CutPrefix(want, "!"); strings.Contains(text, strings.TrimPrefix(want, "!")) == no {
			b.Errorf("the page has to say %q, and not %v:\n%s", want, no && not != "", text)
		}
	}
}

// Keys presses keys, one after the other.
func (b *Browser) Keys(keys string) {
	b.Helper()
	b.do(chromedp.KeyEvent(keys))
}

// focused says where the focus is, as a person hears it: the text or label of the element, and for a field its name.
const focused = `(() => {
	const e = document.activeElement;
	if (!e || e === document.body) return "";
	const label = e.labels && e.labels.length ? e.labels[0].innerText : "";
	return (e.getAttribute("aria-label") || label || e.innerText || e.id || e.tagName).trim();
})()`

// TabTo moves the focus with the tabulator until it is on what begins with a text. It must be visible there: the ring around it is looked for.
func (b *Browser) TabTo(text string) {
	b.Helper()
	for range 80 {
		b.Keys(kb.Tab)
		at := b.eval(focused)
		if strings.HasPrefix(at, text) {
			if ring := b.eval(`getComputedStyle(document.activeElement).outlineStyle + " " + document.activeElement.matches(":focus-visible")`); strings.HasPrefix(ring, "none") || strings.HasSuffix(ring, "false") {
				b.Errorf("nobody sees that the focus is on %q: %s", text, ring)
			}
			return
		}
	}
	b.Fatalf("the tabulator does not come to %q: %s", text, b.where())
}

// Press presses a key on what has the focus, and waits for the page to which that leads.
func (b *Browser) Press(key string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	_, err := chromedp.RunResponse(ctx, chromedp.KeyEvent(key))
	b.must(err)
}

func (b *Browser) eval(expression string) string {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](expression))
	b.must(err)
	return text
}

// Leave clicks on a button of the page's head, and waits until the page says something.
func (b *Browser) Leave(button, want string) {
	b.Helper()
	b.do(chromedp.Click(chromedp.Search(fmt.Sprintf(`//header//button[normalize-space(.)=%q]`, button))))
	b.Await(want)
}
