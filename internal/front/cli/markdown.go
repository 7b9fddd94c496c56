package cli

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// markdown is the summary for a pull request. Paths are told from the state file's folder: where a machine keeps things is nobody's
// business there.
func markdown(a api.VerifyAnswer) string {
	m := summary{dir: filepath.Dir(a.StateFile)}
	if api.FindingsExit(a.Findings) == api.ExitDone {
		m.line("## The Provisioner logs in with a certificate, and with nothing else")
		m.line("")
		m.line("The application `%s` (tenant `%s`, %s cloud) has no client secret any more. Its name, its ids and its permissions are the same.", a.ApplicationID, a.TenantID, a.Cloud)
	} else {
		m.line("## The Provisioner's migration is not complete")
		m.line("")
		m.line("Application `%s` (tenant `%s`, %s cloud). What fails below, or could not be told, is to be put right before this is merged.", a.ApplicationID, a.TenantID, a.Cloud)
	}
	m.line("")
	m.line("### What changed")
	m.line("")
	m.changes(a)
	m.line("")
	m.line("### Checks: %s", tally(a.Findings))
	m.line("")
	m.line("| outcome | question | answer |")
	m.line("|---|---|---|")
	for _, f := range a.Findings {
		m.line("| %s | %s (`%s`) | %s |", outcome(f.Outcome), cell(f.Question), f.ID, m.cell(f.Detail))
	}
	m.line("")
	m.line("Asked on %s. Each answer's evidence: `leastkey provisioner verify --json`.", when(a.At))
	m.line("")
	m.line("### Verify it yourself")
	m.line("")
	m.line("```sh")
	m.line("az ad app show --id %s --query passwordCredentials", a.ApplicationID)
	m.line("az ad sp show --id %s --query passwordCredentials", a.ApplicationID)
	m.line("leastkey provisioner verify")
	m.line("leastkey ledger verify")
	m.line("```")
	m.line("")
	m.line("Both lists have to be `[]`. Ledger head: `%s`.", a.LedgerHead)
	return m.b.String()
}

type summary struct {
	b   strings.Builder
	dir string
}

func (m *summary) line(format string, a ...any) {
	m.b.WriteString(clean(fmt.Sprintf(format, a...)) + "\n")
}

func (m *summary) changes(a api.VerifyAnswer) {
	switch {
	case a.Migrated == nil:
		m.line("- No migration is recorded on this machine.")
	default:
		m.line("- Password credentials removed: **%d**, from application and service principal together.", a.Migrated.Passwords)
		for _, path := range a.Migrated.Purged {
			m.line("- Secret removed from `%s`.", m.near(path))
		}
		for _, p := range a.Migrated.Places {
			m.line("- **The secret is still in `%s`.**", m.near(p.Path))
		}
		if a.Migrated.BackUp != "" {
			m.line("- An encrypted copy of the state file from before is kept on the machine until %s.", when(a.Migrated.Expires))
		}
	}
	if !a.Key.Zero() {
		m.line("- The private key is in the keystore (`%s`) and does not leave it.", m.near(a.Key.String()))
	}
	if !a.NotAfter.IsZero() {
		m.line("- Certificate SHA-256 `%s`, until %s.", a.SHA256, when(a.NotAfter))
	}
}

// folders are those of an absolute path, up to the name at its end. What stands in a URL is none.
var folders = regexp.MustCompile(`(^|[\s:'"(])(?:[A-Za-z]:\\|/)(?:[^\s/\\,|'"#]+[/\\])+`)

// near is a text in which paths begin at the state file's folder, and all others are names alone.
func (m *summary) near(s string) string {
	if m.dir != "." && m.dir != string(filepath.Separator) {
		s = strings.ReplaceAll(s, m.dir+string(filepath.Separator), "")
	}
	return folders.ReplaceAllString(s, "${1}…/")
}

func (m *summary) cell(s string) string { return cell(m.near(s)) }

// cell is a text that stays in its cell of a table, and that no reader takes for markup.
func cell(s string) string {
	return strings.NewReplacer("\r", " ", "\n", " ", "|", `\|`, "<", "&lt;", "`", "'").Replace(s)
}

// outcome is a verdict's word; what needs somebody is bold.
func outcome(o finding.Outcome) string {
	word, _ := verdict(o)
	if o == finding.Pass || o == finding.Skip {
		return word
	}
	return "**" + word + "**"
}
