package verify

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/finding"
)

// allow is the comment that lets its line be, or, where it stands alone, the one after it.
const allow = "leastkey:allow"

// shown bounds how many places a finding names; it counts all.
const shown = 20

// pattern is a way in which code uses a secret.
type pattern struct {
	what  string
	re    *regexp.Regexp
	shell bool // in shell scripts alone
}

func patterns() []pattern {
	return []pattern{
		{"logs in with a client secret", regexp.MustCompile(`\b(ClientSecretCredential|NewClientSecretCredential|ConfidentialClientApplication\(.*client_credential=["'])|--client-secret\b`), false},
		{"reads the Provisioner's secret", regexp.MustCompile(`PROVISIONER_CLIENT_SECRET`), false},
		{"names a client secret", regexp.MustCompile(`(?i)\bclient_secret\b|\bclientSecret\b|\bAZURE_CLIENT_SECRET\b`), false},
		{"makes a JWT assertion by hand", regexp.MustCompile(`openssl\s+(dgst|pkeyutl|rsautl)\b.*-sign\b|\bclient_assertion=`), true},
		{"asks the token endpoint itself", regexp.MustCompile(`\b(curl|wget|http|Invoke-RestMethod|Invoke-WebRequest)\b.*/oauth2/(v2\.0/)?token`), true},
	}
}

// in tells whether the pattern is in the first of the lines. A command of a shell goes on behind a backslash.
func (p pattern) in(language string, lines []string) bool {
	switch {
	case !p.shell:
		return p.re.MatchString(lines[0])
	case language == "shell":
		return p.re.MatchString(joined(lines))
	}
	return false
}

// hit is a place in code.
type hit struct {
	path string
	line int
	what string
}

// String is the place as editors write it.
func (h hit) String() string { return fmt.Sprintf("%s:%d %s", h.path, h.line, h.what) }

// code looks for the basic ways in which scripts and programs of the folder use a secret.
func (l *list) code(ctx context.Context) []finding.Finding {
	c := begin("code", "does no code path use a secret?")
	dir := filepath.Dir(l.ask.State)
	var hits []hit
	all := patterns()
	n, err := l.Sources(ctx, dir, func(path, language string, content []byte) error {
		hits = append(hits, scan(filepath.ToSlash(path), language, content, all)...)
		return nil
	})
	asked := fmt.Sprintf("%d scripts and programs below %s", n, dir)
	if err != nil {
		return c.unknown(asked, err)
	}
	if len(hits) == 0 {
		c.saw(asked, "no secret is read or sent")
		return c.pass("%d scripts and programs, comments aside", n)
	}
	var some []string
	for _, h := range hits[:min(shown, len(hits))] {
		some = append(some, h.String())
	}
	if more := len(hits) - len(some); more > 0 {
		some = append(some, fmt.Sprintf("and %d more", more))
	}
	c.saw(asked, strings.Join(some, "; "))
	return c.end(finding.Fail, strings.Join(some, "; "), "let it call provisioner-token (docs/shell.md); a line that is right as it is gets the comment "+allow)
}

// scan is the lines of a file that use a secret. Comments are none, and neither are lines that somebody has allowed.
func scan(path, language string, content []byte, all []pattern) []hit {
	var hits []hit
	next := false // the line before is a comment that allows this one
	lines := strings.Split(string(content), "\n")
	code := withoutComments(language, lines)
	for i := range code {
		here := strings.Contains(lines[i], allow)
		allowed := here || next
		next = here && strings.TrimSpace(code[i]) == ""
		if allowed {
			continue
		}
		for _, p := range all {
			if p.in(language, code[i:]) {
				hits = append(hits, hit{path, i + 1, p.what})
				break
			}
		}
	}
	return hits
}

// joined is the first line of a shell script with those that it goes on in.
func joined(code []string) string {
	line := code[0]
	for i := 1; strings.HasSuffix(line, "\\") && i < len(code); i++ {
		line = strings.TrimSuffix(line, "\\") + " " + code[i]
	}
	return line
}

// withoutComments blanks comments and keeps every line. It is no parser: it errs on the side of leaving a comment in, which is then found.
func withoutComments(language string, lines []string) []string {
	block := "" // how the comment ends that we are in
	code := make([]string, len(lines))
	for i, line := range lines {
		code[i] = uncommented(language, line, &block)
	}
	return code
}

func uncommented(language, line string, block *string) string {
	if *block != "" {
		_, after, ended := strings.Cut(line, *block)
		if !ended {
			return ""
		}
		*block = ""
		return uncommented(language, after, block)
	}
	trimmed := strings.TrimSpace(line)
	switch language {
	case "shell", "config":
		if strings.HasPrefix(trimmed, "#") {
			return ""
		}
		return cutAt(line, " #")
	case "python":
		for _, quotes := range []string{`"""`, `'''`} {
			if rest, ok := strings.CutPrefix(trimmed, quotes); ok { // a text that stands alone says something to people
				if !strings.Contains(rest, quotes) {
					*block = quotes
				}
				return ""
			}
		}
		if strings.HasPrefix(trimmed, "#") {
			return ""
		}
		return cutAt(line, "  #")
	case "c":
		if strings.HasPrefix(trimmed, "//") {
			return ""
		}
		if before, after, ok := strings.Cut(line, "/*"); ok && strings.TrimSpace(before) == "" {
			*block = "*/"
			return uncommented(language, after, block)
		}
		return cutAt(line, " // ")
	}
	return line
}

// cutAt cuts a comment at the end of a line, where no quote is open before it.
func cutAt(line, mark string) string {
	i := strings.Index(line, mark)
	if i < 0 || strings.Count(line[:i], `"`)%2 == 1 || strings.Count(line[:i], "'")%2 == 1 {
		return line
	}
	return line[:i]
}

// runbook looks whether there is one.
func (l *list) runbook(context.Context) []finding.Finding {
	c := begin("runbook", "is there a runbook for the migration?")
	info, err := os.Stat(l.ask.Runbook)
	switch {
	case os.IsNotExist(err), err == nil && (!info.Mode().IsRegular() || info.Size() == 0):
		c.saw("file "+l.ask.Runbook, "it is not there, or empty")
		return c.end(finding.Fail, l.ask.Runbook+" is not there", "copy leastkey's docs/runbooks/cert-auth-migration.md into your repository, or name yours with --runbook")
	case err != nil:
		return c.unknown("file "+l.ask.Runbook, err)
	}
	c.saw("file "+l.ask.Runbook, fmt.Sprintf("%d bytes", info.Size()))
	return c.pass("%s", l.ask.Runbook)
}
