package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/postroom/postroom/internal/cli"
)

// demoFolders makes an empty folder for temporary ones, that PostgreSQL's user may pass, and wants it empty at the end.
func demoFolders(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "demo-test-") //nolint:usetesting // PostgreSQL's user may not enter the test's own
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", dir)
	t.Cleanup(func() {
		left, err := os.ReadDir(dir)
		if err != nil || len(left) > 0 {
			t.Errorf("left over: %v %v", left, err)
		}
	})
	return dir
}

// demoAccount is what demo prints with --output json.
type demoAccount struct {
	Seen, Recorded, Duplicate, Ignored, Quarantined int
	Activities                                      []struct {
		ActivityID  uuid.UUID `json:"activity_id"`
		Mailbox     string
		From        string
		Subject     string
		SentAt      *time.Time `json:"sent_at"`
		Sightings   int
		Attachments int
		Parent      *uuid.UUID
	}
}

// runDemo runs the command to its end.
func runDemo(ctx context.Context, args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	code = run(ctx, append([]string{"demo"}, args...), nil, cli.Streams{In: strings.NewReader(""), Out: &o, Err: &e})
	return code, o.String(), e.String()
}

func TestDemoOnce(t *testing.T) {
	demoFolders(t)
	before := goleak.IgnoreCurrent()
	code, out, errs := runDemo(t.Context(), "--once", "--output", "json")
	if code != 0 {
		t.Fatalf("got exit code %d, want 0: %s", code, errs)
	}
	goleak.VerifyNone(t, before)
	var a demoAccount
	dec := json.NewDecoder(strings.NewReader(out))
	if err := dec.Decode(&a); err != nil {
		t.Fatal(err)
	}
	if err := dec.Decode(&struct{}{}); err != io.EOF {
		t.Errorf("got more than one object: %q", out)
	}
	if sum := a.Recorded + a.Duplicate + a.Ignored + a.Quarantined; a.Seen == 0 || a.Seen != sum {
		t.Errorf("seen %d, and %d have an outcome", a.Seen, sum)
	}
	if line := "seen " + strconv.Itoa(a.Seen) + " = recorded "; !strings.Contains(errs, line) {
		t.Errorf("got %q, want %q in it", errs, line)
	}
	if strings.Contains(errs, "level=") {
		t.Errorf("the daemon warns: %s", errs)
	}
	ids, twice, answers, attachments := map[uuid.UUID]bool{}, 0, 0, 0
	for _, act := range a.Activities {
		ids[act.ActivityID] = true
		if act.Sightings > 1 {
			twice++
		}
		attachments += act.Attachments
		if act.Mailbox == "" || act.From == "" || act.Subject == "" {
			t.Errorf("got %+v, want its mailbox, sender and subject", act)
		}
	}
	for _, act := range a.Activities {
		if act.Parent != nil {
			answers++
			if !ids[*act.Parent] {
				t.Errorf("%q answers activity %s, which is not there", act.Subject, act.Parent)
			}
		}
	}
	if len(ids) != len(a.Activities) || twice == 0 || answers == 0 || attachments == 0 {
		t.Errorf("%d of %d activities, %d reached two, %d answer, %d attachments", len(ids), len(a.Activities), twice, answers, attachments)
	}
}

func TestDemoTwiceInAFolder(t *testing.T) {
	dir := filepath.Join(demoFolders(t), "kept")
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	var first string
	for range 2 {
		code, out, errs := runDemo(t.Context(), "--once", "--dir", dir)
		if code != 0 || errs != "" {
			t.Fatalf("got exit code %d and %q, want 0 and nothing", code, errs)
		}
		sum := regexp.MustCompile(`seen \d+ = .*`).FindString(out)
		if first == "" {
			first = sum
		}
		if sum == "" || sum != first {
			t.Errorf("got %q, want %q as the first time", sum, first)
		}
	}
	for _, name := range []string{"postroom.yaml", "records.yaml", "postroom.log", "ca.pem", "secrets"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestDemosAtTheSameTime(t *testing.T) {
	demoFolders(t)
	invoke(t, "", "version") // which it learns once
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if code, _, errs := runDemo(t.Context(), "--once"); code != 0 {
				t.Errorf("got exit code %d, want 0: %s", code, errs)
			}
		})
	}
	wg.Wait()
}

// screen is a terminal that somebody watches.
type screen struct {
	mu    sync.Mutex
	text  strings.Builder
	until string
	seen  chan struct{} // closed when until was written
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := strings.Contains(s.text.String(), s.until)
	s.text.Write(p)
	if !before && strings.Contains(s.text.String(), s.until) {
		close(s.seen)
	}
	return len(p), nil
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// TestDemoStaysUpUntilItIsStopped runs the commands that the demo shows, while it is up.
func TestDemoStaysUpUntilItIsStopped(t *testing.T) {
	demoFolders(t)
	before := goleak.IgnoreCurrent()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	shown := &screen{until: "--dir PATH keeps it.\n", seen: make(chan struct{})}
	var errs bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"demo"}, []string{"POSTROOM_DATABASE_URL=postgres://other@db.example/crm"},
			cli.Streams{In: strings.NewReader(""), Out: shown, Err: &errs})
	}()
	select {
	case <-shown.seen:
	case code := <-ended:
		t.Fatalf("got exit code %d, want it to stay up: %s%s", code, shown, &errs)
	}
	commands := regexp.MustCompile(`(?m)^  env -u POSTROOM_DATABASE_URL \S+ (.+)$`).FindAllStringSubmatch(shown.String(), -1)
	if len(commands) < 4 {
		t.Errorf("got %d commands, want status, activity list, explain and quarantine list:\n%s", len(commands), shown)
	}
	for _, c := range commands {
		var out, e bytes.Buffer
		if code := run(ctx, strings.Fields(c[1]), nil, cli.Streams{In: strings.NewReader(""), Out: &out, Err: &e}); code != 0 || out.Len() == 0 {
			t.Errorf("%s: got exit code %d, want 0 and something to see: %s", c[1], code, &e)
		}
	}
	pid := postgresOf(t, shown.String())
	stop()
	if code := <-ended; code != 0 || errs.Len() > 0 {
		t.Errorf("got exit code %d and %q, want 0 and nothing", code, &errs)
	}
	if err := syscall.Kill(pid, 0); err == nil {
		t.Errorf("PostgreSQL still runs as process %d", pid)
	}
	goleak.VerifyNone(t, before)
}

// postgresOf returns the process id of the demo's PostgreSQL.
func postgresOf(t *testing.T, shown string) int {
	t.Helper()
	dir := regexp.MustCompile(`log: (\S+)`).FindStringSubmatch(shown)
	if dir == nil {
		t.Fatalf("got %q, want the demo's folder in it", shown)
	}
	return postmaster(t, filepath.Join(dir[1], "postgresql"))
}

// postmaster returns the process id of the PostgreSQL that works in a folder of pgserver.
func postmaster(t *testing.T, dir string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// TestHelperDemo is the program as a child of TestDemoThatNobodyReads: only there is its standard output a pipe.
func TestHelperDemo(t *testing.T) {
	if os.Getenv("POSTROOM_TEST_DEMO") == "" {
		t.Skip("only as a child of TestDemoThatNobodyReads")
	}
	run(t.Context(), []string{"demo"}, nil, cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	_, _ = os.Stderr.WriteString("taken down\n")
}

// TestDemoThatNobodyReads ends as behind a pipe to head, and leaves nothing: demoFolders looks.
func TestDemoThatNobodyReads(t *testing.T) {
	demoFolders(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestHelperDemo$")
	child.Env = append(os.Environ(), "POSTROOM_TEST_DEMO=1")
	var errs bytes.Buffer
	child.Stderr = &errs
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
	if err := out.Close(); err != nil {
		t.Error(err)
	}
	_ = child.Wait() // what the test binary prints at its end has no reader
	if ctx.Err() != nil || !strings.Contains(errs.String(), "taken down") {
		t.Errorf("got %v and %q, want that the demo ends by itself", ctx.Err(), &errs)
	}
}

func TestDemoStoppedWhileItStarts(t *testing.T) {
	demoFolders(t)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if code, _, errs := runDemo(ctx); code != 0 || errs != "" {
		t.Errorf("got exit code %d and %q, want 0 and nothing", code, errs)
	}
	if code, _, _ := runDemo(ctx, "--once"); code != 1 {
		t.Errorf("--once: got exit code %d, want 1: nothing was accounted for", code)
	}
}

func TestDemoWithoutPostgreSQL(t *testing.T) {
	demoFolders(t)
	t.Setenv("POSTROOM_PG_BIN", "/nonexistent")
	code, _, errs := runDemo(t.Context(), "--once")
	if code != 1 || !strings.Contains(errs, "no usable initdb and postgres") || !strings.Contains(errs, "hint: Install PostgreSQL") {
		t.Errorf("got exit code %d and %q, want 1 and what to install", code, errs)
	}
}

func TestCalledAs(t *testing.T) {
	for _, tt := range []struct {
		program string
		env     []string
		want    string
	}{
		{"postroom", nil, "postroom"},
		{"/opt/post room/postroom", nil, "'/opt/post room/postroom'"},
		{"postroom", []string{"HOME=/root", "POSTROOM_PG_BIN=/usr/bin", "POSTROOM_LOG_LEVEL="}, "postroom"},
		{"postroom", []string{"POSTROOM_LOG_LEVEL=debug", "POSTROOM_SCHEMA=x"}, "env -u POSTROOM_LOG_LEVEL -u POSTROOM_SCHEMA postroom"},
	} {
		if got := calledAs(tt.program, tt.env); got != tt.want {
			t.Errorf("%s %q: got %s, want %s", tt.program, tt.env, got, tt.want)
		}
	}
	if got := calledAs("bin/postroom", nil); !filepath.IsAbs(got) {
		t.Errorf("got %s, want a path that holds in any folder", got)
	}
}
