//go:build unix

package script_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/leastkey/leastkey/internal/localcloud"
)

// block is a command of a document, and what the document shows of its output.
type block struct {
	line    int // at which it begins
	code    string
	command string
	shows   []string
}

// blocks are the commands of a Markdown document: what stands between ```sh and ```, or ```sh exits=3 and ``` where it ends with another
// code than 0. A ```text that follows is what it prints; … stands for what differs from one machine to another, and between two lines of
// the document there may be others.
func blocks(doc string) ([]block, error) {
	var all []block
	lines := strings.Split(doc, "\n")
	for i := 0; i < len(lines); i++ {
		info, fence := strings.CutPrefix(lines[i], "```")
		if !fence {
			continue
		}
		end := i + 1
		for end < len(lines) && lines[end] != "```" {
			end++
		}
		if end == len(lines) {
			return nil, fmt.Errorf("line %d: the block has no end", i+1)
		}
		content := lines[i+1 : end]
		switch kind, rest, _ := strings.Cut(info, " "); kind {
		case "sh":
			code := "0"
			if rest != "" {
				var ok bool
				if code, ok = strings.CutPrefix(rest, "exits="); !ok {
					return nil, fmt.Errorf("line %d: %q is not exits=CODE", i+1, rest)
				}
			}
			all = append(all, block{i + 1, code, strings.Join(content, "\n"), nil})
		case "text":
			if len(all) == 0 || all[len(all)-1].shows != nil {
				return nil, fmt.Errorf("line %d: the output of no command", i+1)
			}
			all[len(all)-1].shows = content
		case "diff", "yaml", "json":
		default:
			return nil, fmt.Errorf("line %d: a block of %q: a command that nobody runs may be wrong", i+1, info)
		}
		i = end
	}
	return all, nil
}

// runbook carries out every command of a document of the repository, in its order, each in a shell of its own that ends at the first
// failure. Each has to end as the document says, and to print what it shows.
func runbook(s *story, ts *testscript.TestScript, args []string) {
	needs(ts, args, 1, 1, "runbook FILE")
	doc, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(args[0])))
	ts.Check(err)
	all, err := blocks(string(doc))
	ts.Check(err)
	run, err := localcloud.ReadRun(s.ctx, s.attachedTo(ts).dir)
	ts.Check(err)
	ca := filepath.Join(s.attachedTo(ts).dir, "ca.pem")
	for _, name := range []string{"CURL_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"} {
		ts.Setenv(name, ca)
	}
	ts.Setenv("GRAPH", run.Endpoints.Graph)
	ours, err := filepath.Abs("..")
	ts.Check(err)
	ts.Setenv("LEASTKEY", ours)
	for _, b := range all {
		p := s.launch(ts, []string{"sh", "-eu", "-c", b.command})
		s.waitFor(ts, p)
		where := fmt.Sprintf("%s:%d", args[0], b.line)
		ts.Logf("%s\n$ %s\n%s%s", where, b.command, p.out.bytes(), p.err.bytes())
		s.report(ts, p, b.code)
		for _, line := range b.shows {
			if !shown(line, string(p.out.bytes())+"\n"+string(p.err.bytes())) {
				ts.Fatalf("%s: the document shows what was not printed: %s", where, line)
			}
		}
	}
	if len(all) < 2 {
		ts.Fatalf("%s has %d commands", args[0], len(all))
	}
}

// shown tells whether a line of a document is in the output, wherever that is indented.
func shown(line, output string) bool {
	var parts []string
	for part := range strings.SplitSeq(strings.TrimSpace(line), "…") {
		parts = append(parts, regexp.QuoteMeta(strings.TrimRight(part, " ")))
	}
	return regexp.MustCompile(`(?m)^\s*` + strings.Join(parts, `.*`) + `\s*$`).MatchString(output)
}
