package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/postroom/postroom/internal/fault"
)

// How long a left-over server has to end, by SIGINT and then by SIGQUIT.
const (
	staleFast      = 15 * time.Second
	staleImmediate = 10 * time.Second
)

// pidFile is what postmaster.pid says.
type pidFile struct {
	pid    int
	status string // "ready" when connections are taken
}

func readPidFile(data string) (pidFile, error) {
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return pidFile{}, err
	}
	lines := strings.Split(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil {
		return pidFile{}, fmt.Errorf("postmaster.pid: %w", err)
	}
	p := pidFile{pid: pid}
	if len(lines) > 7 {
		p.status = strings.TrimSpace(lines[7])
	}
	return p, nil
}

// stopStale ends a server that was left over on data by a process that was killed. The caller holds the folder's lock, so
// that no live Postroom owns it. A process is signalled only if it is a postgres that works in data; a postmaster.pid
// that names none, as after a restart of the machine, is removed: its number may belong to anyone by now.
func stopStale(ctx context.Context, data string) error {
	p, err := readPidFile(data)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if _, procErr := os.Stat("/proc/self/cwd"); procErr != nil {
		return nil //nolint:nilerr // nothing to check with: PostgreSQL decides, and says so
	}
	for _, step := range []struct {
		signal syscall.Signal
		within time.Duration
	}{{syscall.SIGINT, staleFast}, {syscall.SIGQUIT, staleImmediate}} {
		if err == nil && slices.Contains(workers(data), p.pid) {
			_ = syscall.Kill(p.pid, step.signal) // it may have ended by now
		}
		if waitGone(ctx, data, step.within) {
			return removePidFile(data)
		}
	}
	return fault.New(fault.Permanent, "folder_in_use", "Stop that server by hand, then start again.",
		fmt.Errorf("a left-over postgres still works in %s: process %v", data, workers(data)))
}

func removePidFile(data string) error {
	if err := os.Remove(filepath.Join(data, "postmaster.pid")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return unusable(err)
	}
	return nil
}

func waitGone(ctx context.Context, data string, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for len(workers(data)) > 0 {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}

// workers returns the PostgreSQL processes whose working directory is data: the server and its children, or initdb.
func workers(data string) []int {
	want, err := os.Stat(data)
	if err != nil {
		return nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		cwd, err := os.Stat(filepath.Join("/proc", e.Name(), "cwd"))
		if err != nil || !os.SameFile(cwd, want) {
			continue
		}
		exe, err := os.Readlink(filepath.Join("/proc", e.Name(), "exe"))
		name := strings.TrimSuffix(filepath.Base(exe), " (deleted)") // upgraded since
		if err == nil && (strings.HasPrefix(name, "postgres") || name == "initdb") {
			pids = append(pids, pid)
		}
	}
	return pids
}
