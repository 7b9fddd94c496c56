package app

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/leastkey/leastkey/internal/control"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/front/cli"
	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/record/lock"
)

// up starts the local cloud in this process and does the main job on it, through the same door as every other command.
func (a *App) up(ctx context.Context, r api.UpRequest, events func(api.Event)) (_ *cli.UpSession, err error) {
	began := time.Now()
	state, throwAway := r.State, func() error { return nil }
	if r.Once && state == "" {
		tmp, err := os.MkdirTemp("", "leastkey-up-")
		if err != nil {
			return nil, &fault.Error{Code: fault.Unavailable, Op: "make a temporary folder", Err: err}
		}
		state, throwAway = tmp, func() error { return os.RemoveAll(tmp) }
	}
	dir, err := a.localDir(state)
	if err != nil {
		return nil, errors.Join(err, throwAway())
	}
	if r.Fresh {
		if _, err := a.forget(ctx, dir); err != nil {
			return nil, errors.Join(err, throwAway())
		}
	}
	cloud, err := a.startCloud(ctx, dir, localcloud.Config{Listen: r.Listen, Knobs: localcloud.Mild()})
	if err != nil {
		return nil, errors.Join(err, throwAway())
	}
	s := &cli.UpSession{
		Cloud: info(cloud.Run()),
		Serve: func(ctx context.Context, ready func(api.ServeInfo)) error { return a.serveLocal(ctx, dir, r, ready) },
		Close: func() error { return errors.Join(cloud.Close(), throwAway()) },
	}
	if r.State != "" {
		home := filepath.Dir(dir)
		for _, c := range []string{"leastkey status", "leastkey token", "leastkey plan"} {
			s.Next = append(s.Next, "LEASTKEY_HOME="+home+" "+c)
		}
		if r.Once {
			s.Next = []string{"leastkey up --state " + home, "leastkey init"}
		}
	}
	s.Report, err = a.mainJob(ctx, dir, r, events)
	s.Report.WallMS = time.Since(began).Milliseconds()
	return s, err
}

func (a *App) startCloud(ctx context.Context, dir string, cfg localcloud.Config) (*localcloud.Cloud, error) {
	if err := private(filepath.Dir(dir)); err != nil {
		return nil, err
	}
	cfg.RunDir, cfg.StateFile = dir, filepath.Join(dir, "cloud.jsonl")
	cloud, err := localcloud.New(cfg)
	if err != nil {
		return nil, localError(err)
	}
	// It ends with Close, not with the context: an interrupted job must still be able to finish its requests.
	if err := cloud.Listen(context.WithoutCancel(ctx)); err != nil {
		return nil, errors.Join(localError(err), cloud.Close())
	}
	return cloud, nil
}

// mainJob provisions the example agent. Whatever yaml lies in the working directory, up means the local cloud.
func (a *App) mainJob(ctx context.Context, dir string, r api.UpRequest, events func(api.Event)) (api.Report, error) {
	d, err := a.localDoor(ctx, dir, api.Target{Keystore: r.Keystore, AgeIdentity: r.AgeIdentity})
	if err != nil {
		return api.Report{}, err
	}
	report, err := d.Apply(ctx, api.ApplyRequest{}, events)
	return report, errors.Join(err, d.Close())
}

func (a *App) localDoor(ctx context.Context, dir string, t api.Target) (*control.Door, error) {
	p, err := a.localPlace(ctx, dir, t)
	if err != nil {
		return nil, err
	}
	return a.door(ctx, p, t)
}

func (a *App) localPlace(ctx context.Context, dir string, t api.Target) (*place, error) {
	s, run, err := a.localSite(ctx, dir)
	if err != nil {
		return nil, err
	}
	p := newPlace(t)
	p.site, p.spec, p.base, p.operator = s, LocalSpec(run.Domain, run.SubscriptionID), dir, "local:admin"
	p.resolve(t)
	return p, nil
}

// serveLocal is the admin server of the cloud that up serves.
func (a *App) serveLocal(ctx context.Context, dir string, r api.UpRequest, ready func(api.ServeInfo)) (err error) {
	rec, err := a.serverRecord(ctx, filepath.Dir(dir))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rec.db.Close()) }()
	t := api.Target{Keystore: r.Keystore, AgeIdentity: r.AgeIdentity}
	s, err := a.server(api.ServeRequest{Target: t, Listen: cmp.Or(r.AdminListen, "127.0.0.1:0"), Quiet: true}, a.localHouse(dir, t, rec))
	if err != nil {
		return err
	}
	ready(s.info())
	return s.run(ctx)
}

// forget removes a local cloud that is not running, with its record and its keys. The keys go first and one by one: a record without
// keys can be forgotten, keys without a record cannot be found.
func (a *App) forget(ctx context.Context, dir string) ([]string, error) {
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	l, err := lock.Acquire(ctx, filepath.Join(dir, "cloud.lock"), "reset", false, nil)
	if err != nil {
		return nil, &fault.Error{Code: fault.Busy, Op: "the local cloud in " + dir + " is in use", Err: err, Hint: "end it first (Ctrl-C where leastkey up runs)"}
	}
	defer l.Release()
	gone, err := a.forgetKeys(ctx, dir)
	if err != nil {
		return gone, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return gone, &fault.Error{Code: fault.Unavailable, Op: "read " + dir, Err: err}
	}
	for _, e := range entries {
		if e.Name() == "cloud.lock" {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if err := os.RemoveAll(path); err != nil {
			return gone, &fault.Error{Code: fault.Unavailable, Op: "remove " + path, Err: err}
		}
		gone = append(gone, path)
	}
	return gone, nil
}

// forgetKeys deletes every key that the record names, wherever it lies.
func (a *App) forgetKeys(ctx context.Context, dir string) ([]string, error) {
	refs, err := recordedKeys(ctx, dir)
	var gone []string
	if fault.Is(err, fault.Corrupt) {
		// To forget is what was asked for; keys that lie elsewhere can only be named as what they are, unknown.
		gone, err = []string{"(the record does not read: keys in another keystore than this folder's, if there are any, are left)"}, nil
	}
	if err != nil {
		return nil, err
	}
	p := newPlace(api.Target{})
	p.site = &site{cloud: "local", dir: dir}
	keys, err := a.keys(p, api.Target{})
	if err != nil {
		return nil, err
	}
	for _, ref := range refs {
		if ref.Backend == "age" && ref.Store == a.localKeys(p) {
			continue // the folder goes as a whole
		}
		if err := keys.Delete(ctx, ref); err != nil {
			return gone, err
		}
		gone = append(gone, ref.String())
	}
	return gone, nil
}
