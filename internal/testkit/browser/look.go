package browser

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

const (
	wide, narrow = 1200, 360
	height       = 900
	mostHeight   = 1500 // of a picture
	mostBytes    = 120 << 10
)

// Shots is the folder that pictures are written to; "" writes none.
type Shots string

// Look looks at the page as it is now: the console has said nothing, axe finds nothing serious in either scheme, and nothing sticks out at 360
// pixels. It leaves the page wide and light. pictures name what is kept of it: "" is wide and light, "dark", "narrow".
func (b *Browser) Look(to Shots, name string, pictures ...string) {
	b.Helper()
	for _, line := range b.Said() {
		b.Errorf("%s: the console says: %s", name, line)
	}
	for _, scheme := range []string{"light", "dark"} {
		b.Scheme(scheme)
		for _, fault := range b.faults() {
			b.Errorf("%s, %s: %s", name, scheme, fault)
		}
	}
	b.keep(to, name, "dark", pictures)
	b.Scheme("light")
	b.keep(to, name, "", pictures)
	b.do(chromedp.EmulateViewport(narrow, height))
	if out := b.eval(sticksOut); out != "" {
		b.Errorf("%s is wider than %d pixels: %s", name, narrow, out)
	}
	b.keep(to, name, "narrow", pictures)
	b.do(chromedp.EmulateViewport(wide, height))
	for _, line := range b.Said() {
		b.Errorf("%s, looked at: the console says: %s", name, line)
	}
}

// sticksOut names what is wider than the page, "" if nothing is.
const sticksOut = `(() => {
	const wide = document.documentElement.clientWidth;
	if (document.documentElement.scrollWidth <= wide) return "";
	return [...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > wide + 1).map((e) => e.outerHTML.slice(0, 120)).slice(0, 5).join("\n") || "something";
})()`

// Scheme sets what the person prefers, light or dark. Motion is reduced, so that two pictures of one page are the same.
func (b *Browser) Scheme(scheme string) {
	b.Helper()
	b.do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
		return err
	}))
}

// axe is the source of axe-core, at the version that script/clients/js pins.
func axe(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", "..", "..", "script", "clients", "js"))
	if err != nil {
		t.Fatal(err)
	}
	var pinned struct{ Dependencies map[string]string }
	read(t, filepath.Join(dir, "package.json"), &pinned)
	want := pinned.Dependencies["axe-core"]
	var have struct{ Version string }
	if b, err := os.ReadFile(filepath.Join(dir, "node_modules", "axe-core", "package.json")); err != nil || json.Unmarshal(b, &have) != nil || have.Version != want {
		cmd := exec.Command("npm", "ci", "--no-audit", "--no-fund")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("npm ci: %v\n%s", err, out)
		}
		read(t, filepath.Join(dir, "node_modules", "axe-core", "package.json"), &have)
	}
	if have.Version != want {
		t.Fatalf("axe-core is of version %s, want %s", have.Version, want)
	}
	source, err := os.ReadFile(filepath.Join(dir, "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		t.Fatal(err)
	}
	return string(source)
}

func read(t *testing.T, path string, into any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// faults are the serious and the critical violations that axe finds. It runs in a world of its own, which sees the page but not its scripts
// and is not seen by them; so the page's security policy need not be relaxed for it.
func (b *Browser) faults() []string {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	raw, err := chromedp.Run(ctx, func(ctx context.Context, t *chromedp.Target) ([]byte, error) {
		tree, err := cdp.Call(ctx, t, page.GetFrameTree, cdp.Empty{})
		if err != nil {
			return nil, err
		}
		world, err := cdp.Call(ctx, t, page.CreateIsolatedWorld, page.CreateIsolatedWorldParams{FrameID: tree.FrameTree.Frame.ID, WorldName: "axe"})
		if err != nil {
			return nil, err
		}
		yes := true
		run := func(source string) ([]byte, error) {
			res, err := cdp.Call(ctx, t, runtime.Evaluate, runtime.EvaluateParams{Expression: source, ContextID: world.ExecutionContextID, AwaitPromise: &yes, ReturnByValue: &yes})
			if err == nil && res.ExceptionDetails != nil {
				err = fmt.Errorf("axe: %s", res.ExceptionDetails.Text)
			}
			if err != nil {
				return nil, err
			}
			return []byte(res.Result.Value), nil
		}
		if _, err := run(b.axe + "\n;0"); err != nil {
			return nil, err
		}
		return run(`axe.run(document, {resultTypes: ["violations"]}).then((r) => JSON.stringify({passes: r.passes.length, violations: r.violations.map((v) => ({id: v.id, impact: v.impact, help: v.help, nodes: v.nodes.map((n) => n.html + " " + (n.failureSummary || ""))}))}))`)
	})
	b.must(err)
	var text string
	var found struct {
		Passes     int
		Violations []struct {
			ID, Impact, Help string
			Nodes            []string
		}
	}
	b.must(json.Unmarshal(raw, &text))
	b.must(json.Unmarshal([]byte(text), &found))
	if found.Passes < 10 {
		b.Fatalf("axe has looked at nothing: %s", text)
	}
	var all []string
	for _, v := range found.Violations {
		if v.Impact == "serious" || v.Impact == "critical" {
			all = append(all, fmt.Sprintf("axe: %s (%s): %s\n%s", v.ID, v.Impact, v.Help, strings.Join(v.Nodes, "\n")))
		}
	}
	return all
}

// keep writes a picture if it was asked for.
func (b *Browser) keep(to Shots, name, kind string, wanted []string) {
	b.Helper()
	for _, k := range wanted {
		if k != kind || to == "" {
			continue
		}
		if kind != "" {
			name += "-" + kind
		}
		b.must(os.WriteFile(filepath.Join(string(to), name+".png"), b.picture(), 0o644))
	}
}

// picture is the page as a PNG of few colours, which is enough for text and a quarter of the size.
func (b *Browser) picture() []byte {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	raw, err := chromedp.Run(ctx, func(ctx context.Context, t *chromedp.Target) ([]byte, error) {
		size, err := cdp.Call(ctx, t, page.GetLayoutMetrics, cdp.Empty{})
		if err != nil {
			return nil, err
		}
		yes := true
		shot, err := cdp.Call(ctx, t, page.CaptureScreenshot, page.CaptureScreenshotParams{Format: "png", CaptureBeyondViewport: &yes,
			Clip: &page.Viewport{Width: size.CSSContentSize.Width, Height: min(size.CSSContentSize.Height, mostHeight), Scale: 1}})
		return shot.Data, err
	})
	b.must(err)
	full, err := png.Decode(bytes.NewReader(raw))
	b.must(err)
	var out bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	b.must(encoder.Encode(&out, fewColours(full)))
	if out.Len() > mostBytes {
		b.Errorf("a picture has %d bytes", out.Len())
	}
	return out.Bytes()
}

// fewColours takes the 256 colours that are the most frequent once each channel has 32 steps.
func fewColours(full image.Image) image.Image {
	r := full.Bounds()
	step := func(c color.Color) color.RGBA {
		x := color.RGBAModel.Convert(c).(color.RGBA)
		near := func(v uint8) uint8 { return uint8(min(255, (int(v)+4)/8*8)) }
		return color.RGBA{near(x.R), near(x.G), near(x.B), 255}
	}
	count := map[color.RGBA]int{}
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			count[step(full.At(x, y))]++
		}
	}
	palette := frequent(count, 256)
	index := map[color.RGBA]uint8{}
	small := image.NewPaletted(r, palette)
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			c := step(full.At(x, y))
			i, known := index[c]
			if !known {
				i = uint8(palette.Index(c))
				index[c] = i
			}
			small.SetColorIndex(x, y, i)
		}
	}
	return small
}

func frequent(count map[color.RGBA]int, n int) color.Palette {
	all := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int {
		return cmp.Or(count[b]-count[a], int(a.R)-int(b.R), int(a.G)-int(b.G), int(a.B)-int(b.B))
	})
	var p color.Palette
	for _, c := range all[:min(n, len(all))] {
		p = append(p, c)
	}
	return p
}
