package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
)

// How long a stream may be silent (the server's heartbeat comes four times as often), how long a server may be away, and how long is waited
// between two attempts to reach it.
const (
	silence      = time.Minute
	away         = 2 * time.Minute
	firstPause   = 100 * time.Millisecond
	longestPause = 5 * time.Second
)

// follow tells the events of a job until its end. A connection that breaks is made anew, and goes on after the last event that was told: none
// is told twice, none is left out. A person who interrupts it leaves the job to the server.
func (d *Door) follow(ctx context.Context, job api.Job, events func(api.Event)) (api.Job, error) {
	f := &following{door: d, id: job.ID, events: events}
	reached, pause := time.Now(), firstPause
	for {
		told := f.last
		done, err := f.once(ctx)
		switch {
		case done != nil:
			return *done, nil
		case ctx.Err() != nil:
			return job, &fault.Error{Code: fault.Unavailable, Err: ctx.Err(), Hint: "job " + job.ID + " goes on at the server; leastkey status shows how it stands"}
		case err != nil && !fault.Is(err, fault.Unavailable, fault.Throttled):
			if fault.Is(err, fault.NotFound) {
				err = fault.New(fault.Stopped, "the server does not know job "+job.ID+" any more: it was started anew", "leastkey status shows how far it came")
			}
			return job, err
		}
		if f.last > told {
			pause = firstPause
		}
		if f.last > told || err == nil {
			reached = time.Now()
		}
		if time.Since(reached) > away {
			return job, fmt.Errorf("follow job %s: %w", job.ID, err)
		}
		wait := time.NewTimer(max(pause, fault.RetryAfter(err)))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
		}
		pause = min(2*pause, longestPause)
	}
}

// following is one job and how far it was told.
type following struct {
	door   *Door
	id     string
	events func(api.Event)
	last   int
}

// once follows one connection to its end; done is the job, once it has ended.
func (f *following) once(ctx context.Context) (done *api.Job, err error) {
	outer := ctx
	ctx, stop := context.WithCancel(outer)
	defer stop()
	header := map[string]string{"Accept": "text/event-stream, application/problem+json"}
	if f.last > 0 {
		header["Last-Event-ID"] = strconv.Itoa(f.last)
	}
	resp, err := f.door.send(ctx, http.MethodGet, "/jobs/"+url.PathEscape(f.id)+"/events", nil, header)
	if err != nil {
		return nil, err
	}
	defer shut(resp.Body)
	if resp.StatusCode != http.StatusOK {
		b, _ := whole(resp.Body, 1<<20) // what cannot be read is told by the status
		return nil, f.door.problem(resp, b)
	}
	quiet := time.AfterFunc(silence, stop)
	defer quiet.Stop()
	done, err = f.read(resp.Body, func() { quiet.Reset(silence) })
	switch {
	case errors.Is(err, errLargeEvent):
		stop()
		return f.ended(outer)
	case done == nil && err == nil && ctx.Err() != nil && outer.Err() == nil:
		return nil, fault.Newf(fault.Unavailable, "the server has said nothing about job %s for %s", f.id, silence) // not even that it is there
	}
	return done, err
}

// errLargeEvent is an event that is not kept. What a job ended with may be as large; it is then asked for by itself.
var errLargeEvent = errors.New("an event is larger than 1 MiB")

// ended asks for a job whose event was too large to read.
func (f *following) ended(ctx context.Context) (*api.Job, error) {
	var job api.Job
	if err := f.door.get(ctx, "/jobs/"+url.PathEscape(f.id), &job); err != nil {
		return nil, err
	}
	if job.Status == api.JobRunning || job.Status == "" {
		return nil, fault.New(fault.Unknown, "an event of job "+f.id+" is larger than 1 MiB", "is this an admin server? the job goes on there")
	}
	return &job, nil
}

// read reads events (WHATWG HTML, section 9.2.6). The end of the stream without the last event is no error of ours: it is made anew.
func (f *following) read(body io.Reader, heard func()) (*api.Job, error) {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, largestEvent)
	var data []byte
	for lines.Scan() {
		heard()
		line := lines.Bytes()
		if len(line) > 0 {
			if rest, ok := bytes.CutPrefix(line, []byte("data:")); ok {
				if len(data)+len(rest) > largestEvent {
					return nil, errLargeEvent
				}
				data = append(data, bytes.TrimPrefix(rest, []byte(" "))...)
			}
			continue
		}
		if len(data) == 0 {
			continue
		}
		var e api.JobEvent
		if json.Unmarshal(data, &e) != nil {
			return nil, fault.New(fault.Unknown, "an event of job "+f.id+" does not read", "is this an admin server of the same version?")
		}
		data = nil
		if e.N <= f.last {
			continue
		}
		f.last = e.N
		if e.Done != nil {
			return e.Done, nil
		}
		if e.Event != nil && f.events != nil {
			f.events(*e.Event)
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return nil, errLargeEvent
	}
	return nil, nil
}

// finished is what a job ended with: its result, which may stand beside an error.
func finished[T any](job api.Job) (result T, err error) {
	if len(job.Result) > 0 {
		if json.Unmarshal(job.Result, &result) != nil {
			return result, fault.New(fault.Unknown, "the result of job "+job.ID+" does not read", "is this an admin server of the same version?")
		}
	}
	if job.Problem != nil {
		return result, faultOf(*job.Problem)
	}
	return result, nil
}

// run begins a job, follows it to its end and gives what it ended with. A lost answer is not asked for again: who runs the same command once
// more joins what has begun.
func run[T any](ctx context.Context, d *Door, path string, order any, events func(api.Event)) (result T, err error) {
	var job api.Job
	err = d.call(ctx, http.MethodPost, path, order, &job)
	if gone, ok := errors.AsType[*lostError](err); ok {
		return result, gone.cause.WithHint("whether it has begun is not known: run the same command again, which joins it")
	}
	if err != nil {
		return result, err
	}
	if job, err = d.follow(ctx, job, events); err != nil {
		return result, err
	}
	return finished[T](job)
}
