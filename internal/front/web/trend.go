package web

import (
	"fmt"

	"github.com/leastkey/leastkey/internal/domain/api"
)

// bar is a part of the trend's picture: the checks of one outcome in one run.
type bar struct {
	Class      string
	X, Y, W, H int
}

// trend is the picture of the kept runs, the oldest on the left: one column for each, whose parts are as high as the outcome is frequent.
type trend struct {
	Width, Height int
	Bars          []bar
	Says          string // for those who do not see it
}

const (
	trendHeight = 72
	trendColumn = 18
	trendGap    = 6
)

// Trend draws the kept runs.
func (p preflightPage) Trend() trend {
	runs := p.Runs.V
	t := trend{Width: len(runs)*(trendColumn+trendGap) + trendGap, Height: trendHeight}
	most := 1
	for _, r := range runs {
		most = max(most, total(r.Counts))
	}
	for i := range runs {
		r := runs[len(runs)-1-i]
		x, y := trendGap+i*(trendColumn+trendGap), trendHeight
		for _, part := range []struct {
			class string
			n     int
		}{{"good", r.Counts.Passed}, {"quiet", r.Counts.Skipped}, {"warn", r.Counts.Warnings}, {"unknown", r.Counts.Unknown}, {"bad", r.Counts.Failed}} {
			if part.n == 0 {
				continue
			}
			h := max(2, part.n*(trendHeight-8)/most)
			y -= h
			t.Bars = append(t.Bars, bar{Class: part.class, X: x, Y: y, W: trendColumn, H: h})
		}
	}
	if n := len(runs); n > 0 {
		first, last := runs[n-1].Counts, runs[0].Counts
		t.Says = fmt.Sprintf("%s; failed and unknown went from %d to %d", plural(n, "run", "runs"), first.Failed+first.Unknown, last.Failed+last.Unknown)
	}
	return t
}

func total(c api.Counts) int { return c.Passed + c.Failed + c.Warnings + c.Skipped + c.Unknown }
