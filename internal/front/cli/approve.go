package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/leastkey/leastkey/internal/domain/agent"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/outline"
)

// approval shows a plan and collects the consent that it needs.
type approval struct {
	c        *command
	ctx      context.Context
	yes      bool   // --yes
	pin      string // --digest
	file     bool   // the plan comes from a file, which somebody approved
	declined bool
	err      error // what to report instead of what the door made of a refusal
}

// approve is ApplyRequest.Approve.
func (a *approval) approve(ans api.PlanAnswer) (bool, error) {
	ok, err := a.decide(ans)
	a.declined, a.err = !ok && err == nil, err
	return ok, err
}

func (a *approval) decide(ans api.PlanAnswer) (bool, error) {
	if r := (api.ApplyRequest{Digest: a.pin}); !r.Pinned(ans.Digest) {
		return false, fault.New(fault.Conflict, "the plan is now "+api.ShortDigest(ans.Digest)+", not "+api.ShortDigest(a.pin)+" as approved",
			"nothing was changed; look at it again: "+ans.Plan.Verb.Shows(ans.Plan.Agent))
	}
	consent := ans.Consent()
	if consent == api.NoConsent {
		if ans.Open != nil {
			a.c.err.open(*ans.Open)
		}
		a.c.err.line("plan %s: %s", api.ShortDigest(ans.Digest), outline.Count(ans.Plan.Steps))
		return true, nil
	}
	if ans.Adopts != nil {
		a.c.err.application(*ans.Adopts)
	}
	a.c.err.plan(ans)
	a.c.err.blank()
	switch {
	case a.yes || a.pin != "" || (a.file && !ans.Rest && consent == api.YesConsent):
		return true, nil
	case !a.c.streams.Terminal:
		return false, unasked(string(ans.Plan.Verb)+" on the "+string(ans.Plan.Cloud)+" cloud", ans.Digest)
	case consent == api.NameConsent:
		got, err := a.c.ask(a.ctx, fmt.Sprintf("This cannot be undone. Type the agent's name to %s it: ", ans.Plan.Verb))
		return got == ans.Plan.Agent, err
	}
	return a.c.confirm(a.ctx, "Carry this plan out?")
}

// result is what the command ends with, given what the door answered.
func (a *approval) result(err error) error {
	switch {
	case a.err != nil:
		return a.err
	case a.declined:
		return fault.New(fault.Refused, "not approved; nothing was changed", "")
	}
	return err
}

// unasked is the answer where consent is needed and nobody can be asked.
func unasked(what, digest string) error {
	hint := "look at the plan with leastkey plan, then repeat with --digest and its digits, or with --yes"
	if digest != "" {
		hint = "if the plan above is right, repeat with --digest " + api.ShortDigest(digest) + ", or with --yes"
	}
	return usage(hint, "%s needs approval, and there is no terminal to ask on", what)
}

// ask puts a question on stderr and gives the line that was typed, without the spaces around it. The end of input is an empty answer.
func (c *command) ask(ctx context.Context, question string) (string, error) {
	c.err.raw(clean(question))
	type answer struct {
		line string
		err  error
	}
	read := make(chan answer, 1)
	go func() { // a read of a terminal cannot be cancelled; the goroutine ends with the process
		line, err := c.in.ReadString('\n')
		read <- answer{line, err}
	}()
	select {
	case a := <-read:
		if a.err != nil && !errors.Is(a.err, io.EOF) {
			return "", fmt.Errorf("read the answer: %w", a.err)
		}
		if a.err != nil {
			c.err.blank()
		}
		return strings.TrimSpace(a.line), nil
	case <-ctx.Done():
		c.err.blank()
		return "", ctx.Err()
	}
}

// confirm asks a question whose answer is no unless somebody says yes.
func (c *command) confirm(ctx context.Context, question string) (bool, error) {
	got, err := c.ask(ctx, question+" [y/N] ")
	if err != nil {
		return false, err
	}
	switch strings.ToLower(got) {
	case "y", "yes":
		return true, nil
	}
	return false, nil
}

// checkPin refuses a pin that could fit by accident. shows is the command that shows the digest.
func checkPin(pin, shows string) error {
	hex := strings.Trim(strings.ToLower(pin), "0123456789abcdef") == ""
	if pin != "" && (!hex || len(pin) < api.LeastDigits || len(pin) > 64) {
		return usage(shows+" shows it", "--digest wants %d to 64 hex digits of the plan's digest", api.LeastDigits)
	}
	return nil
}

// planFlags are the flags that decide what a plan contains.
type planFlags struct {
	beside  bool
	foreign []string
	purge   bool
	all     bool
}

func (f planFlags) request(name string, verb agent.Verb) api.PlanRequest {
	return api.PlanRequest{Agent: name, Verb: verb, CreateBeside: f.beside, RemoveForeign: f.foreign, Purge: f.purge, AllAssigned: f.all}
}
