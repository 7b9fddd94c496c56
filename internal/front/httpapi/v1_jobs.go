package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/leastkey/leastkey/internal/domain/api"
)

// jobs is what runs, and its events.
func (v *version1) jobs() {
	route(v.api, api.View, operation(http.MethodGet, "/jobs", "list-jobs", "jobs", "List what runs and what ran", "The newest first. Jobs that ended long ago are forgotten here; the ledger keeps what was done."),
		func(context.Context, *struct{}) (*body[[]api.Job], error) {
			return &body[[]api.Job]{list(v.c.Jobs.List())}, nil
		})
	route(v.api, api.View, operation(http.MethodGet, "/jobs/{id}", "get-job", "jobs", "Show a job", "With its result and its problem once it has ended."),
		func(_ context.Context, in *JobPath) (*body[api.Job], error) {
			j, err := v.c.Jobs.Job(in.ID)
			if err != nil {
				return nil, err
			}
			return &body[api.Job]{j}, nil
		})
	v.jobEvents()
}

type JobPath struct {
	ID string `path:"id" doc:"Id of the job." example:"5b1f0c7a9d3e4f20a1b2c3d4e5f60718" maxLength:"64"`
}

type jobEventsInput struct {
	JobPath
	After int `header:"Last-Event-ID" doc:"Number of the last event that was received: the stream goes on with the next." minimum:"0"`
}

// jobEvents streams the events of a job (WHATWG HTML, server-sent events). Each has its number as id, so that a client whose connection broke
// asks for the rest with Last-Event-ID; nothing is told twice and nothing is lost.
func (v *version1) jobEvents() {
	op := operation(http.MethodGet, "/jobs/{id}/events", "follow-job", "jobs", "Follow a job",
		"Server-sent events, from the first one or from the one after Last-Event-ID. Each `data` is a JobEvent; `event` is `progress`, or `done` for the last one, which holds the job with its result.")
	op.Responses = map[string]*huma.Response{"200": {Description: "The events.", Content: map[string]*huma.MediaType{"text/event-stream": {
		Schema: v.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[api.JobEvent](), true, "JobEvent")}}}}
	route(v.api, api.View, op, func(_ context.Context, in *jobEventsInput) (*huma.StreamResponse, error) {
		if _, err := v.c.Jobs.Job(in.ID); err != nil {
			return nil, err
		}
		return &huma.StreamResponse{Body: func(ctx huma.Context) { v.follow(ctx, in.ID, in.After) }}, nil
	})
}

// heartbeat is what a client that has gone without a word is noticed by: each write has its deadline.
const heartbeat = 15 * time.Second

func (v *version1) follow(hc huma.Context, id string, after int) {
	r, w := humago.Unwrap(hc)
	ctx, done, err := v.stream(r)
	if err != nil {
		v.fail(w, r, err)
		return
	}
	defer done()
	out := &eventStream{w: w, rc: http.NewResponseController(w)}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would keep events back
	w.WriteHeader(http.StatusOK)
	if out.send([]byte(": following\n\n")) != nil {
		return
	}
	// Events come from the job's own goroutine order; heartbeats only while none comes. One writer writes both.
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	events := make(chan api.JobEvent)
	go func() {
		defer close(events)
		_ = v.c.Jobs.Follow(ctx, id, after, func(e api.JobEvent) error { // it ends with the job or with the client; both show here
			select {
			case events <- e:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		var err error
		select {
		case e, more := <-events:
			if !more {
				return
			}
			err = out.event(e)
		case <-beat.C:
			err = out.send([]byte(": still running\n\n"))
		}
		if err != nil {
			return
		}
	}
}

// eventStream writes events, each at once.
type eventStream struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (s *eventStream) event(e api.JobEvent) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	kind := "progress"
	if e.Done != nil {
		kind = "done"
	}
	var text bytes.Buffer
	fmt.Fprintf(&text, "id: %d\nevent: %s\ndata: %s\n\n", e.N, kind, b)
	return s.send(text.Bytes())
}

func (s *eventStream) send(b []byte) error {
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	return s.rc.Flush()
}
