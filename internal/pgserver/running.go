package pgserver

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Use returns the URL of the server that works on opts.Dir, whoever started it; if there is none, it starts one, until
// stop is called. Where another process has the folder but takes no connections yet, or no more, it waits for either, up
// to opts.Wait. It is for a command beside a daemon that may run or not. Errors: those of Start.
func Use(ctx context.Context, opts Options) (url string, stop func(context.Context) error, err error) {
	running := func() (ok bool) {
		url, ok = Running(opts.Dir)
		return ok
	}
	nothing := func(context.Context) error { return nil }
	if running() {
		return url, nothing, nil
	}
	s, err := start(ctx, opts, running)
	switch {
	case err == nil:
		return s.URL(), s.Stop, nil
	case url != "":
		return url, nothing, nil
	}
	return "", nil, err
}

// Running returns the URL of the server that works on dir now, whoever started it, and whether there is one. It needs no
// lock on the folder: it is for a command that wants to look at what a running daemon has written.
func Running(dir string) (url string, ok bool) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", false
	}
	data := filepath.Join(dir, dataName)
	p, err := readPidFile(data)
	if err != nil || p.status != "ready" || !slices.Contains(workers(data), p.pid) {
		return "", false
	}
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return "", false
	}
	const socketLine = 4 // of postmaster.pid: the first folder of unix_socket_directories
	lines := strings.Split(string(text), "\n")
	if len(lines) <= socketLine || !filepath.IsAbs(lines[socketLine]) {
		return "", false
	}
	s := &Server{sockets: lines[socketLine]}
	return s.URL(), true
}
