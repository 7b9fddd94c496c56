package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/leastkey/leastkey/internal/domain/api"
)

// preflight measures runs on one good identity, each through a door of its own with the operator's tokens in hand, from the question to the
// report that is kept. A run that is not green has not done the job.
func preflight(ctx context.Context, t table, runs int, latency time.Duration) (err error) {
	p, err := newPlace(ctx, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	if err := p.through(ctx, func(d door) error {
		_, err := d.Apply(ctx, api.ApplyRequest{}, nil)
		return err
	}); err != nil {
		return err
	}
	knobs := p.cloud.Knobs()
	knobs.Latency = latency
	if err := p.cloud.SetKnobs(knobs); err != nil {
		return err
	}
	var walls, asked []time.Duration
	var last api.PreflightReport
	for range runs {
		if err := p.through(ctx, func(d door) error {
			began := time.Now()
			last, err = d.Preflight(ctx, api.PreflightRequest{}, nil)
			walls, asked = append(walls, time.Since(began)), append(asked, time.Duration(last.WallMS)*time.Millisecond)
			return err
		}); err != nil {
			return err
		}
		if !last.Green {
			return fmt.Errorf("the identity is not good: %+v", last.Counts)
		}
	}
	target := "≤ 0.15 s, peer 3.3 s"
	if latency > 0 {
		target = "≤ 0.8 s, peer 4.3 s"
	}
	t.row(fmt.Sprintf("preflight, %d checks, %s a request", len(last.Findings), latency),
		fmt.Sprintf("%s (asking %s), %d requests, %d in a row", ms(median(walls)), ms(median(asked)), last.Requests, last.Rounds), target)
	return nil
}

// door is what is measured of control's.
type door interface {
	Apply(context.Context, api.ApplyRequest, func(api.Event)) (api.Report, error)
	Preflight(context.Context, api.PreflightRequest, func(api.Event)) (api.PreflightReport, error)
}

// through opens a door, gets the operator's tokens, and lets f use it.
func (p *place) through(ctx context.Context, f func(door) error) (err error) {
	d, err := p.app.Open(ctx, api.Target{File: p.yaml})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if _, err := d.Caller(ctx); err != nil {
		return err
	}
	return f(d)
}
