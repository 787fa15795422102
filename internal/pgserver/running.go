package pgserver

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

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
