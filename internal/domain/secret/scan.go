package secret

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
)

// Find is a place in a text that gives a key a secret, or the name of one in a vault. It holds nothing of the value.
type Find struct {
	Line      int    // from 1; 0 if it is not known
	Key       string // "" for something of a secret's shape that no key is given
	Kind      string // as of [Assignment]; "" for a reference
	Reference string // name of the vault's secret, "" if it is none
}

func (f Find) String() string {
	key := f.Key
	if key == "" {
		key = "line " + strconv.Itoa(f.Line)
	}
	if f.Kind == "" {
		return key
	}
	return key + " (" + f.Kind + ")"
}

// Judge is the find of one assignment; false if it gives neither a secret nor a reference to one.
func Judge(key string, v Value, exists func(path string) bool) (Find, bool) {
	if name, ok := Reference(v); ok {
		return Find{Key: key, Reference: name}, true
	}
	kind := Assignment(key, v, exists)
	return Find{Key: key, Kind: kind}, kind != ""
}

// Scan reads a text as nobody may have meant it: each line by itself, comments too, and everything in it that some shell, some dotenv or
// a person would take for an assignment ("set X=…", "X+=…", "X: …", "setx X …"). What a careful parser gives back as the value of a key is not
// all that lies in the file. A reference counts only where it is not in a comment: nobody resolves it there.
func Scan(text []byte, exists func(path string) bool) (all []Find) {
	number := 0
	for raw := range bytes.Lines(text) {
		number++
		found := scanLine(bytes.TrimRight(raw, "\r\n"), exists)
		told := false
		for _, f := range found {
			f.Line = number
			all, told = append(all, f), told || f.Kind != ""
		}
		if told {
			continue
		}
		if kind := shape(raw); kind != "" {
			all = append(all, Find{Line: number, Kind: kind})
		}
	}
	return all
}

var (
	comment = regexp.MustCompile(`^(?i:[ \t]*(?:#|;|//|--|rem[ \t]))`)
	// keyBefore is the name that stands before = or :, with what may stand between.
	keyBefore = regexp.MustCompile(`([A-Za-z_][A-Za-z0-9_.-]*)["'\]]?[ \t]*[+?:]?$`)
	// spoken is an assignment of Windows' setx and of the C shell.
	spoken = regexp.MustCompile(`(?i)\bset(?:x|env)[ \t]+["']?([A-Za-z_][A-Za-z0-9_.-]*)["']?[ \t]+(.*)`)
	// blank is what a comment says in the place of a value.
	blank = regexp.MustCompile(`^(?i:\.{2,}|…|x{3,}|change[-_]?me|your[-_a-z]*|my[-_a-z]*|example|placeholder|secret|password|token|key)$`)
)

func scanLine(line []byte, exists func(string) bool) (all []Find) {
	aside := comment.Match(line)
	judge := func(key string, value []byte) bool {
		if len(value) == 0 || aside && blank.Match(value) {
			return false
		}
		f, ok := Judge(key, New(bytes.Clone(value)), exists)
		if ok = ok && (f.Kind != "" || !aside); ok {
			all = append(all, f)
		}
		return ok && f.Kind != ""
	}
	for i := 0; i < len(line); i++ {
		if line[i] != '=' && line[i] != ':' {
			continue
		}
		m := keyBefore.FindSubmatch(line[:i])
		if m == nil {
			continue
		}
		value, n, alone := valueAt(line[i+1:])
		if (line[i] == '=' || alone) && judge(string(m[1]), value) {
			i += n // what is within that value is the same secret
		}
	}
	if m := spoken.FindSubmatch(line); m != nil {
		value, _, _ := valueAt(m[2])
		judge(string(m[1]), value)
	}
	return all
}

// valueAt is the value at the beginning of a text, quoted or up to the next space, how long it is there, and whether it is all that is
// said there: after a colon in prose, something else follows.
func valueAt(b []byte) (value []byte, n int, alone bool) {
	trimmed := bytes.TrimLeft(b, " \t")
	n = len(b) - len(trimmed)
	switch {
	case len(trimmed) == 0:
		return nil, n, true
	case strings.IndexByte("\"'`", trimmed[0]) >= 0:
		end := bytes.IndexByte(trimmed[1:], trimmed[0])
		if end < 0 {
			return trimmed[1:], len(b), true
		}
		return trimmed[1 : 1+end], n + end + 2, true
	}
	end := bytes.IndexAny(trimmed, " \t")
	if end < 0 {
		end = len(trimmed)
	}
	rest := bytes.TrimLeft(trimmed[end:], " \t")
	return bytes.TrimRight(trimmed[:end], ",;"), n + end, len(rest) == 0 || rest[0] == '#'
}
