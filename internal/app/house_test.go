package app

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leastkey/leastkey/internal/control"
	"github.com/leastkey/leastkey/internal/domain/api"
	"github.com/leastkey/leastkey/internal/domain/fault"
	"github.com/leastkey/leastkey/internal/domain/role"
	"github.com/leastkey/leastkey/internal/localcloud"
	"github.com/leastkey/leastkey/internal/record/specfile"
)

// A crowd before a cloud that hangs is answered by one look, and nobody waits longer than it likes.
func TestACrowdBeforeAHangingCloudIsAnsweredByOneLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServed(t)
		good := s.open
		var looks atomic.Int32
		s.open = func(ctx context.Context) (*control.Door, error) {
			looks.Add(1)
			time.Sleep(5 * time.Second) // virtual: the cloud hangs so long
			return nil, fault.New(fault.Unavailable, "it does not answer", "")
		}
		start := time.Now()
		var crowd sync.WaitGroup
		for range 20 {
			crowd.Go(func() {
				if _, err := s.enter(t.Context(), "ada"); !fault.Is(err, fault.Unavailable) || time.Since(start) > 5*time.Second {
					t.Errorf("after %s: %v", time.Since(start), err)
				}
			})
		}
		crowd.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := s.enter(ctx, "bob"); !fault.Is(err, fault.Unavailable) || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
				t.Errorf("an impatient caller, after %s: %v", time.Since(start), err)
			}
		})
		crowd.Wait()
		if _, err := s.enter(t.Context(), "late"); err == nil || time.Since(start) > 5*time.Second || looks.Load() != 1 {
			t.Errorf("%d looks after %s: %v", looks.Load(), time.Since(start), err)
		}
		time.Sleep(keepFailure)
		s.open = good
		for range 20 {
			crowd.Go(func() {
				l, err := s.enter(t.Context(), "ada")
				if err != nil {
					t.Error(err)
					return
				}
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		crowd.Wait()
		if s.now.users != 0 || s.now.old {
			t.Errorf("%+v", s.now)
		}
	})
}

// While no cloud answers, and while leastkey.yaml does not read, what is kept is shown; what needs a cloud is the server's failure, not the
// caller's.
func TestWhatIsKeptIsShownWithoutACloud(t *testing.T) {
	for name, why := range map[string]error{
		"no answer":     fault.New(fault.Unavailable, "it does not answer", ""),
		"no cloud":      localError(localcloud.ErrNoRun),
		"a faulty file": fault.New(fault.Invalid, "leastkey.yaml: line 2: no such field", ""),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServed(t)
				h, tokens := s.server(t)
				get := func(path string, want int) {
					t.Helper()
					if w := ask(h, tokens[api.View], http.MethodGet, path, ""); w.Code != want {
						t.Errorf("%s: %d, want %d: %s", path, w.Code, want, w.Body)
					}
				}
				kept := []string{"/api/v1/records", "/api/v1/ledger", "/api/v1/ledger/verify", "/api/v1/jobs", "/api/setup/runtime-identity"}
				for _, path := range kept {
					get(path, http.StatusOK)
				}
				s.open = func(context.Context) (*control.Door, error) { return nil, why }
				s.marks = "changed"
				for _, path := range kept {
					get(path, http.StatusOK)
				}
				get("/api/v1/status", http.StatusServiceUnavailable)
				get("/api/v1/agents/"+bot, http.StatusServiceUnavailable)
			})
		})
	}
}

// A cloud whose process lives and which gives no answer is unavailable: nothing says that it is not there.
func TestACloudThatDoesNotAnswerIsUnavailable(t *testing.T) {
	cause := context.DeadlineExceeded
	if err := localError(&localcloud.StaleError{File: "cloud.json", Reason: "its cloud does not answer", Err: cause}); !fault.Is(err, fault.Unavailable) || !errors.Is(err, cause) || fault.Hint(err) == "" {
		t.Errorf("%v", err)
	}
	if err := localError(&localcloud.StaleError{File: "cloud.json", Reason: "process 1 has ended"}); !fault.Is(err, fault.NotFound) {
		t.Errorf("%v", err)
	}
}

// While leastkey.yaml does not read the wizard shows it with the line, before there ever was a cloud, and no page blames whoever asks.
func TestAFaultyFileIsShownByTheWizard(t *testing.T) {
	s := newServed(t)
	if err := os.WriteFile(s.file, []byte("cloud: local\nnosuchfield: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.open = func(context.Context) (*control.Door, error) {
		_, err := specfile.Load(s.file, role.Builtin())
		return nil, err
	}
	h, tokens := s.server(t)
	for path, want := range map[string]int{"/setup/file": 200, "/jobs": 200, "/": 503, "/ledger": 503, "/setup/infrastructure": 503} {
		w := ask(h, tokens[api.Full], http.MethodGet, path, "")
		if w.Code != want {
			t.Errorf("%s: %d, want %d: %s", path, w.Code, want, w.Body)
		}
		if path == "/setup/file" && (!strings.Contains(w.Body.String(), "leastkey.yaml:2") || !strings.Contains(w.Body.String(), "   2  nosuchfield: 1")) {
			t.Errorf("%s", w.Body)
		}
	}
}
