package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// running is what the daemon logs when everything is up.
const running = "postroom is running"

// daemon is a `postroom serve`.
type daemon struct {
	cmd    *exec.Cmd
	log    *watchedLog
	exited chan struct{}
	err    error // readable once exited is closed
}

// serve starts a daemon and waits until it runs. It is killed at the test's end if it still does.
func (s *site) serve(t *testing.T) *daemon {
	t.Helper()
	d := s.start(t)
	select {
	case <-d.log.watch(running):
	case <-d.exited:
		t.Fatalf("the daemon ended while it started: %v:\n%s", d.err, d.log)
	case <-time.After(waitTimeout):
		t.Fatalf("the daemon did not come up:\n%s", d.log)
	}
	return d
}

// start starts a daemon and does not wait.
func (s *site) start(t *testing.T) *daemon {
	t.Helper()
	d := &daemon{log: &watchedLog{}, exited: make(chan struct{})}
	d.cmd = exec.Command(s.binary, "--config", s.config, "serve") // ends by a signal
	d.cmd.Env, d.cmd.Dir = environment(), s.dir
	d.cmd.Stdout, d.cmd.Stderr = d.log, d.log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(d.exited)
		d.err = d.cmd.Wait()
	}()
	t.Cleanup(func() {
		d.kill()
		if strings.Contains(d.log.String(), "DATA RACE") {
			t.Error("the race detector found a data race")
		}
		if t.Failed() {
			t.Logf("log of daemon %d:\n%s", d.pid(), d.log)
		}
	})
	return d
}

func (d *daemon) pid() int { return d.cmd.Process.Pid }

// kill ends the daemon as a crash would.
func (d *daemon) kill() {
	_ = d.cmd.Process.Kill() // fails only if it has ended
	<-d.exited
}

// stop ends the daemon in good order, and fails the test if that is not what happens.
func (d *daemon) stop(t *testing.T) {
	t.Helper()
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("stop the daemon: %v\n%s", err, d.log)
	}
	select {
	case <-d.exited:
	case <-time.After(waitTimeout):
		t.Fatal("the daemon did not stop")
	}
	if code := d.cmd.ProcessState.ExitCode(); code != 0 {
		t.Fatalf("the stopped daemon: got exit code %d (%v), want 0", code, d.err)
	}
}

// hangUp asks the daemon to read its records again.
func (d *daemon) hangUp(t *testing.T) {
	t.Helper()
	if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

// alive reports whether the daemon has not ended.
func (d *daemon) alive() bool {
	select {
	case <-d.exited:
		return false
	default:
		return true
	}
}

// watchedLog keeps what is written to it and tells when a text has been.
type watchedLog struct {
	mu       sync.Mutex
	buf      bytes.Buffer
	watching map[string]chan struct{}
}

// Write implements io.Writer.
func (l *watchedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf.Write(p)
	for text, c := range l.watching {
		if bytes.Contains(l.buf.Bytes(), []byte(text)) {
			close(c)
			delete(l.watching, text)
		}
	}
	return len(p), nil
}

// watch returns a channel that is closed once text has been written.
func (l *watchedLog) watch(text string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c, ok := l.watching[text]; ok {
		return c
	}
	c := make(chan struct{})
	if bytes.Contains(l.buf.Bytes(), []byte(text)) {
		close(c)
		return c
	}
	if l.watching == nil {
		l.watching = map[string]chan struct{}{}
	}
	l.watching[text] = c
	return c
}

// String returns what was written.
func (l *watchedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// peakMemory returns VmHWM of a process, in octets.
func peakMemory(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(procFile(pid, "status"))
	if err != nil {
		t.Skipf("the system does not tell a process's memory: %v", err)
	}
	return statusKiB(t, string(status), "VmHWM") << 10
}
