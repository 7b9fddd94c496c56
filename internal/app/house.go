package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/leastkey/leastkey/internal/control"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/front/httpapi"
	"github.com/leastkey/leastkey/internal/record/lock"
	"github.com/leastkey/leastkey/internal/record/specfile"
)

// house is the admin server's: one door, kept open for all callers, and opened anew where leastkey.yaml or the running local cloud has changed.
type house struct {
	home   string // folder of the server's own record
	file   string // leastkey.yaml, absolute; "" where the server has none to change
	tokens *serverRecord
	// open opens the door, place finds out where it would lead, and stamp changes when either would now be another.
	open  func(context.Context) (*control.Door, error)
	place func(context.Context) (*place, error)
	world func(*place) (outside, error)
	stamp func() string

	mu      sync.Mutex
	now     *tenancy // the last one that opened; what is kept is read in it while none does
	opening *opening // the one that is on its way, for everybody who waits
	failed  *opening // the last one, if it failed

	refusals refusals
}

// opening is a door on its way. What it came to is there once done is closed.
type opening struct {
	stamp string
	done  chan struct{}
	err   error
	until time.Time // how long the error is the answer for whoever comes
}

// keepFailure is how long a failure answers for those who come next: long enough that a crowd before a cloud that hangs is answered by one look.
const keepFailure = time.Second

// longestOpening bounds one look. What a door needs to open is bounded too; this is for what nobody thought of.
const longestOpening = 30 * time.Second

// tenancy is a door with those who use it.
type tenancy struct {
	door  *control.Door
	stamp string
	users int
	old   bool // another door has taken its place: the last user closes it
}

// lease is a door for one caller.
type lease struct {
	*control.Door
	leave func() error
}

// Close lets go of the door, which others may be using. A second call does nothing.
func (l lease) Close() error { return l.leave() }

// Enter implements [httpapi.House].
func (h *house) Enter(ctx context.Context, actor string) (httpapi.Door, error) {
	l, err := h.enter(ctx, actor)
	if err != nil {
		return nil, closed(err)
	}
	return l, nil
}

// Recall implements [httpapi.House].
func (h *house) Recall(ctx context.Context, actor string) (httpapi.Door, error) {
	l, err := h.recall(ctx, actor)
	if err != nil {
		return nil, closed(err)
	}
	return l, nil
}

// recall is the door as things are or, where none opens, the last one that did.
func (h *house) recall(ctx context.Context, actor string) (lease, error) {
	l, err := h.enter(ctx, actor)
	if err == nil {
		return l, nil
	}
	h.mu.Lock()
	t := h.now
	if t != nil {
		t.users++
	}
	h.mu.Unlock()
	if t == nil {
		return lease{}, err
	}
	return h.lease(t, actor), nil
}

// closed is why no door opens, as whoever asks the server is to hear it: the request was right, and it is the server that has a faulty
// leastkey.yaml, or no cloud.
func closed(err error) error {
	switch fault.CodeOf(err) {
	case fault.Invalid, fault.Usage, fault.NotFound:
		return &fault.Error{Code: fault.Unavailable, Op: "this server has no cloud to work in", Err: err, Hint: fault.Hint(err)}
	}
	return err
}

func (h *house) enter(ctx context.Context, actor string) (lease, error) {
	t, err := h.current(ctx)
	if err != nil {
		return lease{}, err
	}
	return h.lease(t, actor), nil
}

func (h *house) lease(t *tenancy, actor string) lease {
	return lease{Door: t.door.As(actor + " (" + t.door.Target().Operator + ")"), leave: sync.OnceValue(func() error { return h.leave(t) })}
}

// current is the door as things are, with one more user. Whoever finds none waits for the one that is being opened, each for as long as it
// likes, and all hear the same of it.
func (h *house) current(ctx context.Context) (*tenancy, error) {
	for {
		t, o, err := h.join(ctx, h.stamp())
		if t != nil || err != nil {
			return t, err
		}
		select {
		case <-ctx.Done():
			return nil, &fault.Error{Code: fault.Unavailable, Op: "wait for the cloud", Err: ctx.Err()}
		case <-o.done:
		}
		if o.err != nil {
			return nil, o.err
		}
	}
}

// join is the door of that stamp, or the one that is being opened, whichever it is, or why none opens.
func (h *house) join(ctx context.Context, stamp string) (*tenancy, *opening, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.now != nil && h.now.stamp == stamp {
		h.now.users++
		return h.now, nil, nil
	}
	if f := h.failed; f != nil && f.stamp == stamp && time.Now().Before(f.until) {
		return nil, nil, f.err
	}
	if h.opening == nil {
		h.opening = &opening{stamp: stamp, done: make(chan struct{})}
		go h.admit(context.WithoutCancel(ctx), h.opening) // others will use it when this caller has gone
	}
	return nil, h.opening, nil
}

// admit opens the door and lets those in who wait.
func (h *house) admit(ctx context.Context, o *opening) {
	ctx, cancel := context.WithTimeout(ctx, longestOpening)
	defer cancel()
	door, err := h.open(ctx)
	h.mu.Lock()
	h.opening, h.failed = nil, nil
	before := h.now
	if o.err = err; err != nil {
		o.until = time.Now().Add(keepFailure)
		h.failed, before = o, nil
	} else {
		h.now = &tenancy{door: door, stamp: o.stamp}
	}
	h.mu.Unlock()
	close(o.done)
	if before != nil {
		_ = h.retire(before) // its last user hears of what closing it says; nobody else is here to hear it
	}
}

func (h *house) leave(t *tenancy) error {
	h.mu.Lock()
	t.users--
	last := t.old && t.users == 0
	h.mu.Unlock()
	if last {
		return t.door.Close()
	}
	return nil
}

func (h *house) retire(t *tenancy) error {
	h.mu.Lock()
	t.old = true
	unused := t.users == 0
	h.mu.Unlock()
	if unused {
		return t.door.Close()
	}
	return nil
}

// Close closes the door once nobody uses it any more.
func (h *house) Close() error {
	h.mu.Lock()
	o := h.opening
	h.mu.Unlock()
	if o != nil {
		<-o.done
	}
	h.mu.Lock()
	t := h.now
	h.now = nil
	h.mu.Unlock()
	if t == nil {
		return nil
	}
	return h.retire(t)
}

// Version implements [httpapi.House].
func (h *house) Version() api.Version { return versionOf() }

// Ready implements [httpapi.House]. A server whose cloud is not there yet is ready: that is where the wizard begins.
func (h *house) Ready(ctx context.Context) error {
	if _, err := h.tokens.List(ctx); err != nil {
		return err
	}
	h.mu.Lock()
	t := h.now
	if t != nil {
		t.users++
	}
	h.mu.Unlock()
	if t == nil {
		return nil
	}
	_, err := t.door.State(ctx)
	return errors.Join(err, h.leave(t))
}

// ReadSpec implements [httpapi.House].
func (h *house) ReadSpec(ctx context.Context) (api.SpecAnswer, error) {
	a := api.SpecAnswer{}
	if h.file != "" {
		text, sum, err := specfile.Text(h.file)
		if err != nil {
			return a, err
		}
		a.Text, a.SHA256, a.Writable = text, sum, specfile.Writable(h.file)
		if text != "" {
			a.File = h.file
			spec, err := specfile.Parse(filepath.Base(h.file), []byte(text), role.Builtin())
			if err != nil {
				a.Problem = err.Error()
				return a, nil
			}
			a.Spec = spec
			return a, nil
		}
	}
	l, err := h.enter(ctx, "server")
	if err != nil {
		a.Problem = err.Error()
		return a, nil
	}
	if a.Spec, err = l.Spec(); err != nil {
		a.Problem = err.Error()
	}
	return a, l.Close()
}

// WriteSpec implements [httpapi.House].
func (h *house) WriteSpec(ctx context.Context, actor string, c api.SpecChange) (api.SpecAnswer, error) {
	have, err := h.ReadSpec(ctx)
	if err != nil {
		return have, err
	}
	if c.SHA256 != have.SHA256 {
		return have, fault.New(fault.Conflict, "leastkey.yaml has changed meanwhile", "read it again")
	}
	if have.Text == "" {
		c = complete(c, have)
	}
	name := "leastkey.yaml"
	if h.file != "" {
		name = filepath.Base(h.file)
	}
	text, err := specfile.Edit(name, have.Text, c, role.Builtin())
	if err != nil {
		return have, err
	}
	if err := checkEnvFile(h.file, c, have.Spec); err != nil {
		return have, err
	}
	if !have.Writable {
		have.Text = text
		return have, fault.New(fault.Refused, name+" cannot be written here", "save the text yourself, and start leastkey serve -f with it")
	}
	l, err := lock.Acquire(ctx, filepath.Join(h.home, "locks", "spec.lock"), "changing "+name, true, nil)
	if err != nil {
		return have, err
	}
	defer l.Release()
	if err := h.recorded(ctx, actor, c, func() error { return specfile.Replace(h.file, have.SHA256, text) }); err != nil {
		if fault.Is(err, fault.Refused) {
			have.Text = text
		}
		return have, err
	}
	return h.ReadSpec(ctx)
}

// recorded carries the change out with an entry in the ledger of the cloud that it is about, or, where that cannot be reached, in the server's own.
func (h *house) recorded(ctx context.Context, actor string, c api.SpecChange, change func() error) error {
	l, err := h.enter(ctx, actor)
	if err != nil {
		return h.tokens.Note(ctx, actor, "spec", c.Agent, changed(c), change)
	}
	err = l.ChangeSpec(ctx, c.Agent, changed(c), change)
	return errors.Join(err, l.Close())
}

// changed names the fields of a change.
func changed(c api.SpecChange) string {
	var names []string
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"cloud", c.Cloud != nil}, {"tenant", c.Tenant != nil}, {"subscription", c.Subscription != nil}, {"resource_group", c.ResourceGroup != nil},
		{"location", c.Location != nil}, {"operator", c.Operator != nil}, {"kind", c.Kind != nil}, {"key_vault", c.KeyVault != nil},
		{"session_pool", c.SessionPool != nil}, {"content_safety", c.ContentSafety != nil}, {"env_file", c.EnvFile != nil},
		{"certificate.days", c.Days != nil}, {"federated", c.Federated != nil},
	} {
		if f.set {
			names = append(names, f.name)
		}
	}
	return "leastkey.yaml: " + strings.Join(names, ", ")
}

// complete fills a first file with what holds without one: the local cloud's own tenant and subscription.
func complete(c api.SpecChange, have api.SpecAnswer) api.SpecChange {
	fill := func(field **string, value string) {
		if *field == nil && value != "" {
			*field = &value
		}
	}
	if have.Problem != "" || (c.Cloud != nil && *c.Cloud != string(have.Spec.Cloud)) {
		return c // another cloud's values would mislead
	}
	fill(&c.Cloud, string(have.Spec.Cloud))
	fill(&c.Tenant, have.Spec.Tenant)
	fill(&c.Subscription, have.Spec.Subscription)
	fill(&c.ResourceGroup, have.Spec.ResourceGroup)
	fill(&c.Location, have.Spec.Location)
	return c
}

// Choices implements [httpapi.House]. It asks as the operator; each list stands for itself.
func (h *house) Choices(ctx context.Context, subscription, group string) (api.Choices, error) {
	p, err := h.place(ctx)
	if err != nil {
		return api.Choices{}, err
	}
	defer p.close()
	w, err := h.world(p)
	if err != nil {
		return api.Choices{}, err
	}
	out := api.Choices{Errors: map[string]string{}}
	if out.As, err = w.caller(ctx); err != nil {
		return out, err
	}
	if subscription == "" {
		subscription = p.spec.Subscription
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	list := func(name string, into *[]api.Choice, ask func() ([]api.Choice, error)) {
		*into = []api.Choice{}
		all.Go(func() {
			got, err := ask()
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				out.Errors[name] = err.Error()
				return
			}
			*into = got
		})
	}
	list("subscriptions", &out.Subscriptions, func() ([]api.Choice, error) { return w.arm.Subscriptions(ctx) })
	list("resource_groups", &out.Groups, func() ([]api.Choice, error) { return w.arm.Groups(ctx, subscription) })
	resources := func(kind string) func() ([]api.Choice, error) {
		return func() ([]api.Choice, error) { return w.arm.Resources(ctx, subscription, group, kind) }
	}
	list("key_vaults", &out.Vaults, resources("Microsoft.KeyVault/vaults"))
	list("session_pools", &out.SessionPools, resources("Microsoft.App/sessionPools"))
	list("content_safety", &out.ContentSafety, resources("Microsoft.CognitiveServices/accounts"))
	all.Wait()
	return out, nil
}

// newHouse is a house whose doors lead where the target says at the time.
func (a *App) newHouse(home string, t api.Target, tokens *serverRecord) (*house, error) {
	file := t.File
	if file == "" {
		file = specName
	}
	file, err := filepath.Abs(file)
	if err != nil {
		return nil, &fault.Error{Code: fault.Invalid, Op: "find " + file, Err: err}
	}
	local, err := a.localDir("")
	if err != nil {
		return nil, err
	}
	return &house{
		home: home, file: file, tokens: tokens,
		open:  func(ctx context.Context) (*control.Door, error) { return a.Open(ctx, t) },
		place: func(ctx context.Context) (*place, error) { return a.where(ctx, t) },
		world: func(p *place) (outside, error) { return a.world(p, nil) },
		stamp: func() string { return stampOf(file) + stampOf(filepath.Join(local, "cloud.json")) },
	}, nil
}

// localHouse is the house of the local cloud that up serves. Its spec is the cloud's own, and no file.
func (a *App) localHouse(dir string, t api.Target, tokens *serverRecord) *house {
	return &house{
		home: filepath.Dir(dir), tokens: tokens,
		open:  func(ctx context.Context) (*control.Door, error) { return a.localDoor(ctx, dir, t) },
		place: func(ctx context.Context) (*place, error) { return a.localPlace(ctx, dir, t) },
		world: func(p *place) (outside, error) { return a.world(p, nil) },
		stamp: func() string { return "" },
	}
}

// stampOf changes when the file does.
func stampOf(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return "-;"
	}
	return fmt.Sprintf("%s,%d;", info.ModTime().Format(time.RFC3339Nano), info.Size())
}
