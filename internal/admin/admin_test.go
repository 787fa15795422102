package admin_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postroom/postroom/internal/admin"
	"github.com/postroom/postroom/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ok(context.Context) error { return nil }

// start serves the checks and returns their address; the server has ended when the test has.
func start(t *testing.T, live, ready []admin.Check) string {
	t.Helper()
	l, err := admin.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- admin.New(live, ready, slog.New(slog.DiscardHandler)).Serve(t.Context(), l) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Errorf("Serve: got %v, want nil after its context has ended", err)
		}
	})
	return l.Addr().String()
}

type answer struct {
	Status string `json:"status"`
	Checks []struct {
		Name, Code, Error, Hint string
		OK                      bool
	} `json:"checks"`
}

func get(t *testing.T, addr, path string) (int, answer) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	resp, err := client.Get("http://" + addr + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var a answer
	if resp.Header.Get("Content-Type") == "application/json" {
		if err := json.Unmarshal(body, &a); err != nil {
			t.Fatalf("%s: %v in %q", path, err, body)
		}
	}
	return resp.StatusCode, a
}

func TestAllHolds(t *testing.T) {
	addr := start(t, []admin.Check{{Name: "scheduler", Run: ok}}, []admin.Check{{Name: "database", Run: ok}})
	for path, checks := range map[string]int{"/livez": 1, "/readyz": 2} {
		status, a := get(t, addr, path)
		if status != 200 || a.Status != "ok" || len(a.Checks) != checks {
			t.Errorf("%s: got %d %+v, want 200 ok with %d checks", path, status, a, checks)
		}
	}
}

func TestTheAnswerSaysWhichCheckFails(t *testing.T) {
	refused := func(context.Context) error {
		return fault.New(fault.Transient, "connect_refused", "start PostgreSQL", errors.New("connection refused"))
	}
	addr := start(t, []admin.Check{{Name: "scheduler", Run: ok}}, []admin.Check{{Name: "database", Run: refused}, {Name: "heartbeat", Run: ok}})
	if status, a := get(t, addr, "/livez"); status != 200 {
		t.Errorf("/livez: got %d %+v, want 200: the process is alive without its database", status, a)
	}
	status, a := get(t, addr, "/readyz")
	if status != 503 || a.Status != "failing" {
		t.Fatalf("/readyz: got %d %s, want 503 failing", status, a.Status)
	}
	for _, c := range a.Checks {
		if c.OK != (c.Name != "database") {
			t.Errorf("check %s: got ok=%v", c.Name, c.OK)
		}
		if c.Name == "database" && (c.Code != "connect_refused" || c.Hint != "start PostgreSQL" || c.Error != "connection refused") {
			t.Errorf("got %+v, want code, error and hint of the fault", c)
		}
	}
}

func TestNothingElseIsServed(t *testing.T) {
	addr := start(t, nil, nil)
	for _, path := range []string{"/", "/metrics", "/livez/x", "/debug/pprof/", "/%2e%2e/livez/"} {
		if status, _ := get(t, addr, path); status != 404 {
			t.Errorf("%s: got %d, want 404", path, status)
		}
	}
	resp, err := http.Post("http://"+addr+"/livez", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	defer http.DefaultClient.CloseIdleConnections()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: got %d, want 405", resp.StatusCode)
	}
}

func TestACheckThatPanicsHasFailed(t *testing.T) {
	addr := start(t, []admin.Check{{Name: "bad", Run: func(context.Context) error { panic("secret") }}}, nil)
	for range 2 {
		status, a := get(t, addr, "/livez")
		if status != 503 || a.Checks[0].Code != "check_panics" || strings.Contains(a.Checks[0].Error, "secret") {
			t.Errorf("got %d %+v, want 503, check_panics, without the panic's value", status, a)
		}
	}
}

// A check that ignores its context holds up neither the answer nor the next one, and is not started again meanwhile.
func TestACheckThatHangs(t *testing.T) {
	release, runs := make(chan struct{}), new(atomic.Int32)
	hangs := func(context.Context) error {
		runs.Add(1)
		<-release
		return nil
	}
	addr := start(t, []admin.Check{{Name: "stuck", Run: hangs}, {Name: "fine", Run: ok}}, nil)
	t.Cleanup(func() { close(release) })
	for range 2 {
		status, a := get(t, addr, "/livez")
		if status != 503 || a.Checks[0].Code != "check_hangs" || !a.Checks[1].OK {
			t.Errorf("got %d %+v, want 503 with stuck failing and fine ok", status, a)
		}
	}
	if n := runs.Load(); n != 1 {
		t.Errorf("the check was started %d times, want once", n)
	}
}

func TestChecksRunForOneRequestAtATime(t *testing.T) {
	var now, most atomic.Int32
	check := func(context.Context) error {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer now.Add(-1)
		return nil
	}
	addr := start(t, []admin.Check{{Name: "c", Run: check}}, nil)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if status, a := get(t, addr, "/livez"); status != 200 {
				t.Errorf("got %d %+v, want 200", status, a)
			}
		})
	}
	wg.Wait()
	if most.Load() != 1 {
		t.Errorf("up to %d checks ran at the same time, want 1", most.Load())
	}
}

func TestLongHeadersAreRefused(t *testing.T) {
	addr := start(t, nil, nil)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = fmt.Fprintf(conn, "GET /livez HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n", strings.Repeat("x", 1<<20))
	}()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.Contains(line, "431") {
		t.Errorf("got %q, %v; want 431", line, err)
	}
}

func TestListenSaysWhatToDo(t *testing.T) {
	l, err := admin.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, err = admin.Listen(t.Context(), l.Addr().String())
	if class, code, _, hint := fault.Describe(err); class != fault.Permanent || code != "admin_listen" || hint == "" {
		t.Errorf("got class %q, code %q, hint %q; want permanent, admin_listen and a hint", class, code, hint)
	}
}
