package localcloud

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/leastkey/leastkey/internal/localcloud/replica"
)

// Knobs make the cloud slow, forgetful and unreliable. The zero value is a cloud that does everything at once and never fails.
//
// In JSON (management API, files) durations are Go's text form ("1.5s") and names are those in quotes below; what a document leaves out
// keeps its value.
type Knobs struct {
	// Lag, per plane ("lag": {"login", "graph", "arm", "vault"}), is the longest time until a write is visible on every replica of it.
	Lag Lag

	Throttle        float64       // "throttle_rate": share of requests answered 429 before any effect
	RetryAfterShare float64       // "retry_after_share": share of those that carry Retry-After
	RetryAfter      time.Duration // "retry_after": what it says, in whole seconds, at least 1

	ServerError            float64 // "server_error_rate": share answered 500, 502, 503 or 504
	ServerErrorAfterEffect float64 // "server_error_after_effect_share": share of those whose effect has happened all the same

	DropBefore float64 // "drop_before_rate": share whose connection is cut before the effect
	DropAfter  float64 // "drop_after_rate": share whose connection is cut after the effect, without an answer

	Latency time.Duration // "latency" of each request, half of it before the effect
	Jitter  time.Duration // "jitter": up to this much more, by chance

	ClockOffset   time.Duration // "clock_offset": how far the cloud's clock is ahead of ours; may be negative
	TokenLifetime time.Duration // "token_lifetime" of tokens minted from now on; 0 means an hour
	Seed          uint64        // "seed" of the choice which request meets which fault
}

// Lag is the replication lag of each plane.
type Lag struct {
	Login, Graph, ARM, Vault time.Duration
}

const maxLag = 24 * time.Hour

// Mild is the cloud that `leastkey up` starts: slow enough to show that we wait by looking, quick enough not to bore.
func Mild() Knobs {
	return Knobs{
		Lag:     Lag{Login: 1200 * time.Millisecond, Graph: 600 * time.Millisecond, ARM: 900 * time.Millisecond, Vault: 600 * time.Millisecond},
		Latency: 10 * time.Millisecond, Jitter: 20 * time.Millisecond,
	}
}

// Hostile is a cloud on its worst day: up to two minutes of lag, and three requests of ten throttled, failed or cut off.
func Hostile(seed uint64) Knobs {
	r := rand.New(rand.NewPCG(seed, 0x686f7374696c65))
	lag := func() time.Duration { return time.Duration(r.Int64N(int64(2*time.Minute) + 1)) }
	return Knobs{
		Lag:      Lag{Login: lag(), Graph: lag(), ARM: lag(), Vault: lag()},
		Throttle: 0.10, RetryAfterShare: 0.5, RetryAfter: time.Duration(1+r.IntN(10)) * time.Second,
		ServerError: 0.08, ServerErrorAfterEffect: 0.5,
		DropBefore: 0.06, DropAfter: 0.06,
		Latency: 20 * time.Millisecond, Jitter: time.Duration(r.IntN(800)) * time.Millisecond,
		Seed: seed,
	}
}

// Check tells what is wrong with the values.
func (k Knobs) Check() error {
	for name, rate := range map[string]float64{
		"throttle_rate": k.Throttle, "retry_after_share": k.RetryAfterShare, "server_error_rate": k.ServerError,
		"server_error_after_effect_share": k.ServerErrorAfterEffect, "drop_before_rate": k.DropBefore, "drop_after_rate": k.DropAfter,
	} {
		if !(rate >= 0 && rate <= 1) { // written so that NaN fails
			return fmt.Errorf("knob %s is %v; a share is from 0 to 1", name, rate)
		}
	}
	if sum := k.Throttle + k.ServerError + k.DropBefore + k.DropAfter; sum > 1 {
		return fmt.Errorf("the fault rates add up to %v; at most every request can fail", sum)
	}
	for name, d := range map[string]time.Duration{
		"lag.login": k.Lag.Login, "lag.graph": k.Lag.Graph, "lag.arm": k.Lag.ARM, "lag.vault": k.Lag.Vault,
		"retry_after": k.RetryAfter, "latency": k.Latency, "jitter": k.Jitter, "token_lifetime": k.TokenLifetime,
	} {
		if d < 0 || d > maxLag {
			return fmt.Errorf("knob %s is %v; it is from 0s to %v", name, d, maxLag)
		}
	}
	return nil
}

func (k Knobs) lifetime() time.Duration {
	if k.TokenLifetime > 0 {
		return k.TokenLifetime
	}
	return time.Hour
}

// setLag tells the store; a write keeps the lag that it was made under.
func (k Knobs) setLag(s *replica.Store) {
	s.SetLag(replica.Login, k.Lag.Login)
	s.SetLag(replica.Graph, k.Lag.Graph)
	s.SetLag(replica.ARM, k.Lag.ARM)
	s.SetLag(replica.Vault, k.Lag.Vault)
}

// span is a duration whose JSON is its text.
type span time.Duration

func (s span) MarshalText() ([]byte, error) { return []byte(time.Duration(s).String()), nil }

func (s *span) UnmarshalText(b []byte) error {
	d, err := time.ParseDuration(string(b))
	*s = span(d)
	return err
}

// knobsJSON is the document form of Knobs.
type knobsJSON struct {
	Lag struct {
		Login span `json:"login"`
		Graph span `json:"graph"`
		ARM   span `json:"arm"`
		Vault span `json:"vault"`
	} `json:"lag"`
	Throttle               float64 `json:"throttle_rate"`
	RetryAfterShare        float64 `json:"retry_after_share"`
	RetryAfter             span    `json:"retry_after"`
	ServerError            float64 `json:"server_error_rate"`
	ServerErrorAfterEffect float64 `json:"server_error_after_effect_share"`
	DropBefore             float64 `json:"drop_before_rate"`
	DropAfter              float64 `json:"drop_after_rate"`
	Latency                span    `json:"latency"`
	Jitter                 span    `json:"jitter"`
	ClockOffset            span    `json:"clock_offset"`
	TokenLifetime          span    `json:"token_lifetime"`
	Seed                   uint64  `json:"seed"`
}

func (k Knobs) document() knobsJSON {
	d := knobsJSON{
		Throttle: k.Throttle, RetryAfterShare: k.RetryAfterShare, RetryAfter: span(k.RetryAfter),
		ServerError: k.ServerError, ServerErrorAfterEffect: k.ServerErrorAfterEffect,
		DropBefore: k.DropBefore, DropAfter: k.DropAfter,
		Latency: span(k.Latency), Jitter: span(k.Jitter),
		ClockOffset: span(k.ClockOffset), TokenLifetime: span(k.TokenLifetime), Seed: k.Seed,
	}
	d.Lag.Login, d.Lag.Graph, d.Lag.ARM, d.Lag.Vault = span(k.Lag.Login), span(k.Lag.Graph), span(k.Lag.ARM), span(k.Lag.Vault)
	return d
}

// MarshalJSON writes the document form.
func (k Knobs) MarshalJSON() ([]byte, error) { return json.Marshal(k.document()) }

// UnmarshalJSON changes what the document names and refuses names that it does not know.
func (k *Knobs) UnmarshalJSON(b []byte) error {
	d := k.document()
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		return fmt.Errorf("knobs: %w", err)
	}
	*k = Knobs{
		Lag: Lag{
			Login: time.Duration(d.Lag.Login), Graph: time.Duration(d.Lag.Graph),
			ARM: time.Duration(d.Lag.ARM), Vault: time.Duration(d.Lag.Vault),
		},
		Throttle: d.Throttle, RetryAfterShare: d.RetryAfterShare, RetryAfter: time.Duration(d.RetryAfter),
		ServerError: d.ServerError, ServerErrorAfterEffect: d.ServerErrorAfterEffect,
		DropBefore: d.DropBefore, DropAfter: d.DropAfter,
		Latency: time.Duration(d.Latency), Jitter: time.Duration(d.Jitter),
		ClockOffset: time.Duration(d.ClockOffset), TokenLifetime: time.Duration(d.TokenLifetime), Seed: d.Seed,
	}
	return nil
}
