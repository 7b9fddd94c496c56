package statefile

import (
	"bytes"
	"io"
	"regexp"

	"github.com/leastkey/leastkey/internal/domain/provisioner"
	"github.com/leastkey/leastkey/internal/domain/secret"
)

// Finder finds the legacy secret in contents that are no files any more, such as those that a history keeps: its values where they are
// known, and otherwise what is given to its key.
type Finder struct {
	values pattern
}

// NewFinder looks for values; none is fine.
func NewFinder(values []secret.Value) Finder {
	return Finder{patternOf(values)}
}

// Find is the line, from 1, at which the content holds a secret; 0 if it holds none. Beyond the size of any state or environment file only
// the values are looked for.
func (f Finder) Find(r io.Reader) (int, error) {
	first, err := io.ReadAll(io.LimitReader(r, maxSize))
	if err != nil {
		return 0, err
	}
	defer clear(first)
	if line := given(first); line > 0 {
		return line, nil
	}
	if len(f.values.values) == 0 {
		_, err := io.Copy(io.Discard, r)
		return 0, err
	}
	return f.values.line(io.MultiReader(bytes.NewReader(first), r))
}

// givenKey is an assignment of the legacy key with what surrounds the value: code that calls something, or that names a variable, gives it
// no secret.
var givenKey = regexp.MustCompile(provisioner.KeySecret + `["']?[ \t]*[:=][ \t]*(["']?)([A-Za-z0-9~._+/=!@#%^*:\-]{16,})(["'\s,;}]|$)`)

// identifier is what code calls something by.
var identifier = regexp.MustCompile(`^[A-Za-z_.]+$`)

func given(b []byte) int {
	for _, m := range givenKey.FindAllSubmatchIndex(b, -1) {
		if m[2] == m[3] && identifier.Match(b[m[4]:m[5]]) { // not quoted
			continue
		}
		return 1 + bytes.Count(b[:m[0]], []byte("\n"))
	}
	return 0
}
