package preflight

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/finding"
)

// agentAccount is the account that the agent runs as; known is false where this machine has none of that uid, as when it runs in a container.
func agentAccount(ctx context.Context, a *Ask) (account Account, known bool, err error) {
	account, err = a.run.p.Host.Account(ctx, a.Agent.Runtime.UID)
	if fault.Is(err, fault.NotFound) {
		return account, false, nil
	}
	return account, err == nil, err
}

// unseen is the answer where the operator may not look into the agent's home. That is how it should be, and no proof of what is in it.
func unseen(account Account) Verdict {
	return warn("uid %d has a home of its own, %s, which is closed to you; what lies in it nobody has seen", account.UID, account.Home).
		instead("to see it too, run the preflight as root or as the agent's account")
}

// homesApart asks, as far as this machine shows it, whether agent and operator have nothing in common where sessions are kept. Where the
// agent runs elsewhere, its preflight there has to tell.
func homesApart() Check {
	return Check{
		ID: idHomes, Category: finding.Secrets, Severity: finding.Critical, Required: true,
		Name: "Agent and Operator Have Homes of Their Own", Question: "do agent and operator share no account, no home and no Azure CLI folder?",
		Remedy: "give the agent a uid of its own under runtime.uid, with a home in which nobody has logged in; leastkey exec does both",
		Decide: func(ctx context.Context, a *Ask) Verdict {
			me, err := get(a, &a.run.me)
			if err != nil {
				return failed(err)
			}
			if me.UID < 0 {
				return skip("this system has no uids to compare")
			}
			e, err := get(a, &a.run.environment)
			if err != nil {
				return failed(err)
			}
			bad, err := a.borrowed(ctx, e, me)
			switch {
			case err != nil:
				return failed(err)
			case bad != "":
				return fail("%s", bad)
			}
			return a.apart(ctx, me)
		},
	}
}

// borrowed is what the environment file takes from the operator; "" if nothing. A path that a shell has to complete, or that depends on
// where somebody stands, is whatever the one who starts the agent makes of it: the operator's, where the operator does.
func (a *Ask) borrowed(ctx context.Context, e agentEnv, me Account) (bad string, err error) {
	for _, own := range []struct{ name, below, path string }{{"HOME", "", me.Home}, {"AZURE_CONFIG_DIR", "", me.Azure}, {"HOME", ".azure", me.Azure}, {"USERPROFILE", "", me.Home}} {
		for _, key := range e.given(own.name) {
			var path string
			_ = e.set[key].Use(func(b []byte) error { path = string(b); return nil }) // the function returns nil
			if strings.ContainsAny(path, "$`%~") || !filepath.IsAbs(path) {
				return fmt.Sprintf("%s sets %s to what depends on who reads it: write the agent's own folder out", e.file.Path, key), nil
			}
			if own.path == "" {
				continue
			}
			same, err := a.same(ctx, filepath.Join(path, own.below), own.path)
			switch {
			case err != nil:
				return "", err
			case same:
				return fmt.Sprintf("%s sets %s to the operator's, %s", e.file.Path, key, own.path), nil
			}
		}
	}
	return "", nil
}

// same tells whether two paths are one folder, by whatever links and mounts. One that the operator may not look at is not the operator's.
func (a *Ask) same(ctx context.Context, path, own string) (bool, error) {
	if filepath.Clean(path) == filepath.Clean(own) {
		return true, nil
	}
	var both [2]File
	for i, p := range []string{path, own} {
		f, err := a.run.p.Host.Look(ctx, p)
		switch {
		case fault.Is(err, fault.Forbidden):
			return false, nil
		case err != nil:
			return false, err
		}
		both[i] = f
	}
	return both[0].Exists && both[0].ID != "" && both[0].ID == both[1].ID, nil
}

func (a *Ask) apart(ctx context.Context, me Account) Verdict {
	uid := a.Agent.Runtime.UID
	if uid == 0 {
		return skip("runtime.uid is not set, so nothing here shows as whom the agent runs")
	}
	if uid == me.UID {
		return fail("the agent runs as uid %d, which is the operator", uid)
	}
	account, known, err := agentAccount(ctx, a)
	switch {
	case err != nil:
		return failed(err)
	case !known:
		return pass("uid %d is nobody on this machine, and the operator is uid %d", uid, me.UID)
	}
	for _, p := range [][2]string{{account.Home, me.Home}, {account.Azure, me.Azure}} {
		if p[0] == "" || p[1] == "" {
			continue
		}
		shared, err := a.same(ctx, p[0], p[1])
		switch {
		case err != nil:
			return failed(err)
		case shared && p[0] == account.Home:
			return fail("uid %d has the operator's home, %s", uid, me.Home)
		case shared:
			return fail("uid %d has the operator's Azure CLI folder, %s", uid, me.Azure)
		}
	}
	var sessions []string
	for _, name := range sessionFiles() {
		f, err := a.run.p.Host.Look(ctx, filepath.Join(account.Azure, name))
		switch {
		case fault.Is(err, fault.Forbidden):
			return unseen(account)
		case err != nil:
			return failed(err)
		case f.Exists:
			sessions = append(sessions, f.Path)
		}
	}
	if len(sessions) > 0 {
		return fail("somebody is logged in to the Azure CLI as the agent's account: %s", strings.Join(sessions, ", ")).
			instead("az logout as uid " + fmt.Sprint(uid) + ": the agent's only way in is its own identity")
	}
	return pass("the agent is uid %d with home %s, the operator uid %d with home %s", uid, account.Home, me.UID, me.Home)
}
