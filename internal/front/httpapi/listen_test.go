package httpapi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leastkey/leastkey/internal/control"
	"github.com/leastkey/leastkey/internal/domain/api"
)

// line is a listener without a network: its connections have deadlines that pass in virtual time.
type line struct {
	calls chan net.Conn
	once  sync.Once
	gone  chan struct{}
}

func newLine() *line { return &line{calls: make(chan net.Conn), gone: make(chan struct{})} }

func (l *line) Accept() (net.Conn, error) {
	select {
	case c := <-l.calls:
		return c, nil
	case <-l.gone:
		return nil, net.ErrClosed
	}
}
func (l *line) Close() error   { l.once.Do(func() { close(l.gone) }); return nil }
func (l *line) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9090} }

// call connects and sends text.
func (l *line) call(t *testing.T, text string) net.Conn {
	t.Helper()
	client, server := net.Pipe()
	l.calls <- server
	go io.WriteString(client, text)
	return client
}

// served is a frame that answers on a line until stop is called, which gives the server's error.
func served(t *testing.T, change func(*Config)) (f *frame, l *line, stop func() error) {
	t.Helper()
	f, l = newFrame(t, change), newLine()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Serve(ctx, l, nil, time.Minute) }()
	return f, l, func() error { cancel(); return <-ended }
}

func head(method, path, token string, more ...string) string {
	return method + " " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " + token + "\r\n" + strings.Join(append(more, "", ""), "\r\n")
}

// until reads the connection to its end, and tells how long that took.
func until(c net.Conn) (text string, took time.Duration) {
	began := time.Now()
	b, _ := io.ReadAll(c)
	return string(b), time.Since(began)
}

func TestWhoIsSlowIsLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l, stop := served(t, nil)
		for name, row := range map[string]struct {
			text   string
			says   string
			atMost time.Duration
		}{
			"a head that does not end":           {"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ", "", headerPatience},
			"a body that does not come":          {head("POST", "/api/v1/plans", fullToken, "Content-Type: application/json", "Content-Length: 100") + "{", "408", bodyPatience},
			"a stranger's body that does not":    {head("POST", "/api/v1/plans", "nobody", "Content-Type: application/json", "Content-Length: 100") + "{", "401", bodyPatience},
			"a login's body that does not":       {head("POST", "/api/v1/session", fullToken, "Content-Type: application/json", "Content-Length: 100") + "{", "408", bodyPatience},
			"a chunked body that does not":       {head("POST", "/api/v1/plans", fullToken, "Content-Type: application/json", "Transfer-Encoding: chunked") + "5\r\n{", "408", bodyPatience},
			"a connection that asks for nothing": {head("GET", "/healthz", fullToken), "200", idlePatience},
			"a head that is too long":            {"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + strings.Repeat("x", 2*maxHeaders) + "\r\n\r\n", "431", time.Second},
		} {
			text, took := until(l.call(t, row.text))
			if !strings.HasPrefix(text, strings.TrimSpace("HTTP/1.1 "+row.says)) && row.says != "" || took > row.atMost+time.Second {
				t.Errorf("%s: after %s %.60q", name, took, text)
			}
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// An answer may take as long as the work: nothing that bounds slow clients may cut it, or end its context.
func TestAnAnswerMayTakeLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l, stop := served(t, func(c *Config) {
			c.Pages = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				select {
				case <-time.After(3 * time.Hour):
					fmt.Fprint(w, "done")
				case <-r.Context().Done():
					fmt.Fprint(w, "cut")
				}
			})
		})
		c := l.call(t, head("POST", "/work", fullToken, "Content-Length: 3", "Connection: close")+"a=b")
		if text, took := until(c); !strings.HasSuffix(text, "done") || took < 3*time.Hour {
			t.Errorf("after %s %q", took, text)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// jobs has work that says a word each second, for as long as the test wants.
func jobs(t *testing.T) (*control.Jobs, string, func()) {
	t.Helper()
	j, enough := control.NewJobs(), make(chan struct{})
	job, _, err := j.Start("bot", "apply", "test", func(ctx context.Context, events func(api.Event)) (any, error) {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				events(api.Event{Agent: "bot", Title: strings.Repeat("x", 1000)})
			case <-enough:
				return "report", nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return j, job.ID, sync.OnceFunc(func() { close(enough) })
}

func TestAStreamThatNobodyReadsIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, id, enough := jobs(t)
		f, l, stop := served(t, func(c *Config) { c.Jobs = j })
		var all []net.Conn
		for i := range maxStreams {
			token := fmt.Sprintf("view-token-%d", i/ownStreams)
			f.tokens.by[token] = api.AdminToken{Name: token, Level: api.View}
			c := l.call(t, head("GET", "/api/v1/jobs/"+id+"/events", token))
			if _, err := bufio.NewReaderSize(c, 16).ReadByte(); err != nil { // it has begun; then not a byte is read
				t.Fatal(err)
			}
			all = append(all, c)
		}
		synctest.Wait()
		if n := f.streams.all; n != maxStreams {
			t.Errorf("%d streams", n)
		}
		if text, _ := until(l.call(t, head("GET", "/api/v1/jobs/"+id+"/events", viewToken, "Connection: close"))); !strings.HasPrefix(text, "HTTP/1.1 429") || !strings.Contains(text, "Retry-After") {
			t.Errorf("one too many: %s", text)
		}
		time.Sleep(2 * writePatience)
		synctest.Wait()
		if n := f.streams.all; n != 0 || len(f.streams.by) != 0 {
			t.Errorf("%d streams still write to who does not read", n)
		}
		if job, err := j.Job(id); err != nil || job.Status != api.JobRunning {
			t.Errorf("the job %+v %v", job, err)
		}
		for _, c := range all {
			_ = c.Close()
		}
		enough()
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestOneCallerDoesNotTakeEveryStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, id, enough := jobs(t)
		_, l, stop := served(t, func(c *Config) { c.Jobs = j })
		follow := func(token string) string {
			c := l.call(t, head("GET", "/api/v1/jobs/"+id+"/events", token))
			t.Cleanup(func() { _ = c.Close() })
			line, err := bufio.NewReader(c).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			return strings.TrimSpace(line)
		}
		for range ownStreams {
			if got := follow(viewToken); got != "HTTP/1.1 200 OK" {
				t.Fatal(got)
			}
		}
		if got := follow(viewToken); got != "HTTP/1.1 429 Too Many Requests" {
			t.Error(got)
		}
		if got := follow(fullToken); got != "HTTP/1.1 200 OK" {
			t.Errorf("another caller: %s", got)
		}
		enough()
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestAStreamEndsWithItsToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, id, enough := jobs(t)
		f, l, stop := served(t, func(c *Config) {
			c.Jobs = j
			c.Pages = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		})
		ends := map[string]time.Duration{}
		var mu sync.Mutex
		began := time.Now()
		for path, token := range map[string]string{"/api/v1/jobs/" + id + "/events": viewToken, "/follow": viewToken, "/stays": approveToken} {
			c := l.call(t, head("GET", path, token, "Connection: close"))
			go func() {
				_, _ = io.Copy(io.Discard, c)
				mu.Lock()
				defer mu.Unlock()
				ends[path] = time.Since(began)
			}()
		}
		time.Sleep(time.Minute)
		mu.Lock()
		if len(ends) != 0 {
			t.Errorf("ended: %v", ends)
		}
		mu.Unlock()
		f.tokens.revoke(viewToken)
		time.Sleep(heartbeat + time.Second)
		mu.Lock()
		if _, stays := ends["/stays"]; len(ends) != 2 || stays {
			t.Errorf("ended: %v", ends)
		}
		mu.Unlock()
		enough()
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

func TestTheEndIsToldAndWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, id, enough := jobs(t)
		began := make(chan struct{})
		_, l, stop := served(t, func(c *Config) {
			c.Jobs = j
			c.Pages = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					<-r.Context().Done()
					return
				}
				close(began)
				time.Sleep(20 * time.Second)
				fmt.Fprint(w, "finished", r.Context().Err())
			})
		})
		answers := make(chan string, 3)
		for _, text := range []string{
			head("GET", "/api/v1/jobs/"+id+"/events", viewToken), head("GET", "/follow", viewToken), head("POST", "/work", fullToken, "Content-Length: 1") + "x",
		} {
			c := l.call(t, text)
			go func() {
				said, _ := until(c)
				answers <- said
			}()
		}
		<-began
		time.Sleep(5 * time.Second)
		at := time.Now()
		if err := stop(); err != nil {
			t.Error(err)
		}
		if took := time.Since(at); took < 10*time.Second || took > 20*time.Second {
			t.Errorf("it ended after %s", took)
		}
		finished := 0
		for range 3 {
			if strings.Contains(<-answers, "finished<nil>") {
				finished++
			}
		}
		if finished != 1 {
			t.Errorf("%d requests finished", finished)
		}
		enough()
		synctest.Wait()
	})
}

func TestTheEndDoesNotWaitForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l, stop := served(t, func(c *Config) {
			c.Pages = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		})
		c := l.call(t, head("POST", "/work", fullToken, "Content-Length: 1")+"x")
		go until(c)
		synctest.Wait()
		at := time.Now()
		if err := stop(); err != nil {
			t.Error(err)
		}
		if took := time.Since(at); took != time.Minute {
			t.Errorf("it ended after %s", took)
		}
	})
}
