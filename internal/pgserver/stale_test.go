package pgserver

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func testFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "postroom-pgserver-test-") //nolint:usetesting // PostgreSQL's user may not enter t.TempDir's parents
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil { // as prepareDir does
		t.Fatal(err)
	}
	return dir
}

// A server whose owner and watchdog are both gone is stopped by its data folder's postmaster.pid.
func TestStopStaleServer(t *testing.T) {
	if _, err := Find(); err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := Start(ctx, Options{Dir: testFolder(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Stop(ctx) }()
	if got := workers(s.data()); len(got) < 2 {
		t.Errorf("workers: got %v, want the server and its children", got)
	}
	if err := stopStale(ctx, s.data()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Exited():
	case <-ctx.Done():
		t.Fatal("the server still runs")
	}
	if got := workers(s.data()); len(got) > 0 {
		t.Errorf("workers are left: %v", got)
	}
}

// The number in a left-over postmaster.pid may be anybody's by now.
func TestStopStaleSparesStrangers(t *testing.T) {
	data := testFolder(t)
	stranger := exec.Command("/bin/sh", "-c", "read -r line")
	stranger.Dir = data // even one that works there
	in, err := stranger.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	pid := filepath.Join(data, "postmaster.pid")
	if err := os.WriteFile(pid, []byte(strconv.Itoa(stranger.Process.Pid)+"\n"+data+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := stopStale(t.Context(), data); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(pid); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("postmaster.pid: %v, want it gone", err)
	}
	if _, err := in.Write([]byte("end\n")); err != nil {
		t.Fatal(err)
	}
	if err := stranger.Wait(); err != nil {
		t.Errorf("the stranger ended with %v, want 0: it was not ours to signal", err)
	}
}

func TestTailIsBounded(t *testing.T) {
	tl := newTail(nil)
	for i := range 100 {
		if n, err := tl.Write([]byte("line " + strconv.Itoa(i) + " " + strings.Repeat("x", 10_000) + "\npart")); err != nil || n == 0 {
			t.Fatal(n, err)
		}
	}
	got := tl.text()
	if len(got) > (tailLines+1)*(tailOctets+2) || !strings.Contains(got, "line 99") || strings.Contains(got, "line 80") {
		t.Errorf("got %d octets: %.80q", len(got), got)
	}
}
