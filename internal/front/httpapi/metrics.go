package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/leastkey/leastkey/internal/domain/finding"
)

// meters are what /metrics tells: counts of this process, and, asked when somebody looks, how the agents stand.
type meters struct {
	s         *Server
	registry  *prometheus.Registry
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	logins    *prometheus.CounterVec
	running   prometheus.Gauge
	streams   prometheus.Gauge

	jobs, due, expiry, findings, up *prometheus.Desc
}

func newMeters(s *Server) *meters {
	m := &meters{
		s: s, registry: prometheus.NewRegistry(),
		requests:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "leastkey_http_requests_total", Help: "Requests that were answered."}, []string{"method", "route", "status"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "leastkey_http_request_seconds", Help: "How long requests took.", Buckets: []float64{.005, .02, .1, .5, 2, 10, 60, 600}}, []string{"route"}),
		logins:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "leastkey_logins_total", Help: "Logins by their end: session, refused or throttled."}, []string{"end"}),
		running:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "leastkey_http_requests_running", Help: "Requests that are being answered."}),
		streams:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "leastkey_event_streams", Help: "Streams of events that are open."}),
		jobs:      prometheus.NewDesc("leastkey_jobs", "Jobs that are remembered, by verb and status.", []string{"verb", "status"}, nil),
		due:       prometheus.NewDesc("leastkey_due_work", "Work that the server has to do on its own.", []string{"agent", "what"}, nil),
		expiry:    prometheus.NewDesc("leastkey_certificate_expiry_seconds", "Seconds until the certificate of the agent ends; below 0 it has.", []string{"agent"}, nil),
		findings:  prometheus.NewDesc("leastkey_preflight_findings", "Findings of the last preflight of the agent, by outcome.", []string{"agent", "outcome"}, nil),
		up:        prometheus.NewDesc("leastkey_record_readable", "1 if the record could be read for the figures of the agents.", nil, nil),
	}
	m.registry.MustRegister(m.requests, m.durations, m.logins, m.running, m.streams, m)
	return m
}

func (m *meters) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// Describe implements [prometheus.Collector].
func (m *meters) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.jobs, m.due, m.expiry, m.findings, m.up} {
		out <- d
	}
}

// Collect implements [prometheus.Collector]. What cannot be read is missing, and said to be: a figure of 0 would pass for a good one.
func (m *meters) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	type key struct{ verb, status string }
	jobs := map[key]int{}
	for _, j := range m.s.c.Jobs.List() {
		jobs[key{j.Verb, string(j.Status)}]++
	}
	for k, n := range jobs {
		gauge(m.jobs, float64(n), k.verb, k.status)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := m.agents(ctx, gauge); err != nil {
		m.s.c.Log.Warn("metrics", "error", err.Error())
		gauge(m.up, 0)
		return
	}
	gauge(m.up, 1)
}

func (m *meters) agents(ctx context.Context, gauge func(*prometheus.Desc, float64, ...string)) error {
	door, err := m.s.c.House.Enter(ctx, "metrics")
	if err != nil {
		return err
	}
	defer door.Close()
	all, err := door.State(ctx)
	if err != nil {
		return err
	}
	for _, rec := range all {
		if g := rec.Active(); g != nil {
			gauge(m.expiry, g.NotAfter.Sub(m.s.c.Now()).Seconds(), rec.Agent)
		}
		runs, err := door.PreflightRuns(ctx, rec.Agent, 1)
		if err != nil {
			return err
		}
		if len(runs) == 0 {
			continue
		}
		c := runs[0].Counts
		for outcome, n := range map[finding.Outcome]int{finding.Pass: c.Passed, finding.Fail: c.Failed, finding.Warn: c.Warnings, finding.Skip: c.Skipped, finding.Unknown: c.Unknown} {
			gauge(m.findings, float64(n), rec.Agent, string(outcome))
		}
	}
	if m.s.c.Due == nil {
		return nil
	}
	due, err := m.s.c.Due(ctx)
	if err != nil {
		return err
	}
	for _, d := range due {
		gauge(m.due, 1, d.Agent, d.What)
	}
	return nil
}
