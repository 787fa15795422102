// Package pgserver starts PostgreSQL as a child process: for `postroom demo`, for `postroom serve` without database.url,
// and for tests.
//
// It runs the initdb and postgres that it finds on the machine and never downloads anything. As root it drops to an
// unprivileged user, because PostgreSQL refuses to run as root.
//
// Invariants:
//   - a server listens on a Unix socket in a folder of mode 0700 and nowhere else, so that whoever may open that folder
//     may log in, and nobody else;
//   - one process at a time uses a folder (flock on postroom.lock, which goes with the process);
//   - a folder is either without a database cluster or holds a complete one: it is made under another name and renamed;
//   - a server does not outlive the process that started it: a watchdog stops it when that process dies, and the next
//     Start stops one that is left over all the same;
//   - statements and their values are not written to the server's log.
package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/postroom/postroom/internal/fault"
)

// The names that a folder's cluster is made with. Admin is its superuser; Role owns Database and is all that Postroom
// itself needs.
const (
	Admin    = "postgres"
	Role     = "postroom"
	Database = "postroom"
)

// How long things may take.
const (
	startTimeout = 10 * time.Minute // crash recovery of a large cluster included
	stopGrace    = 5 * time.Second  // between an immediate shutdown and SIGKILL
	pollEvery    = 10 * time.Millisecond

	// DefaultWait is an Options.Wait that outlasts a short command which has started the server for itself.
	DefaultWait = 10 * time.Second
)

const port = 5432 // part of the socket's name; no TCP port is opened

// Options say where a server lives and how safe it is.
type Options struct {
	Dir     string        // folder of the cluster, made if missing; absolute or relative to the working directory
	Durable bool          // fsync, full-page writes and data checksums: for everything but tests
	BinDir  string        // folder of initdb and postgres; "": as Find finds it, of the version that Dir was made with
	Wait    time.Duration // how long to wait for another process that uses Dir to end; 0: not at all
	Log     io.Writer     // takes the server's log; nil: only the last lines are kept, for errors. It must not block
	Cache   string        // tests: folder that keeps a fresh cluster for later Starts, to save the time of initdb
	Remove  bool          // tests: remove Dir when the server stops, also when this process is killed
}

// Server is a running PostgreSQL. Its methods may be called by several goroutines at once.
type Server struct {
	dir     string
	bin     binaries
	who     *identity
	durable bool
	sockets string
	private bool // sockets is a folder of its own outside of dir, to be removed
	remove  bool
	lock    *os.File
	cmd     *exec.Cmd
	dog     *watchdog
	tail    *tail
	done    chan struct{} // closed when the server process has ended and was waited for
	err     error         // how it ended; readable once done is closed
	once    sync.Once
}

// Start makes sure that opts.Dir holds a cluster, starts PostgreSQL on it and waits until it takes connections. ctx
// bounds the start only, not the life of the server; the caller ends it with Stop.
//
// Errors are *fault.Error: postgres_missing, postgres_version, folder_in_use, folder_closed, folder_unusable,
// initdb_failed and postgres_failed, the last two with the end of the program's own log.
func Start(ctx context.Context, opts Options) (*Server, error) { return start(ctx, opts, nil) }

// start is Start that stops waiting for the folder when instead, if not nil, says that there is no need any more.
func start(ctx context.Context, opts Options, instead func() bool) (_ *Server, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	who, err := runAs(opts.Dir)
	if err != nil {
		return nil, err
	}
	dir, err := prepareDir(opts.Dir, who)
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, who: who, durable: opts.Durable, remove: opts.Remove, tail: newTail(opts.Log)}
	if s.lock, err = waitLock(ctx, dir, who, opts.Wait, instead); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.release())
		}
	}()
	if err := stopStale(ctx, s.data()); err != nil {
		return nil, err
	}
	if s.bin, err = binFor(ctx, opts.BinDir, s.data(), who); err != nil {
		return nil, err
	}
	if err := ensureCluster(ctx, s.bin, dir, who, opts); err != nil {
		return nil, err
	}
	if s.sockets, s.private, err = socketDir(dir, who); err != nil {
		return nil, err
	}
	if err := s.run(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Server) data() string { return filepath.Join(s.dir, dataName) }

// run starts the watchdog and the server, and waits until the server takes connections.
func (s *Server) run(ctx context.Context) error {
	var err error
	s.done = make(chan struct{})
	if s.dog, err = startWatchdog(s.data(), s.trash()); err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		s.dog.dismiss()
		return fault.New(fault.Transient, "postgres_failed", "", fmt.Errorf("start postgres: %w", err))
	}
	//nolint:noctx // the server lives on when ctx ends
	s.cmd = exec.Command(filepath.Join(s.bin.dir, "postgres"), arguments(s.data(), s.sockets, s.durable)...)
	s.cmd.Dir = s.data()
	s.cmd.Env = environment()
	s.cmd.Stdout, s.cmd.Stderr = w, w
	s.cmd.SysProcAttr = s.who.attributes()
	err = s.cmd.Start()
	_ = w.Close() // the child has its own
	if err != nil {
		_ = r.Close()
		s.dog.dismiss()
		return fault.New(fault.Permanent, "postgres_failed", hintInstall, fmt.Errorf("start postgres: %w", err))
	}
	s.dog.watch(s.cmd.Process.Pid)
	go s.reap(r)
	if err := s.waitReady(ctx); err != nil {
		return errors.Join(err, s.end(0))
	}
	return nil
}

// trash names what the watchdog removes when this process dies.
func (s *Server) trash() []string {
	var names []string
	if s.remove {
		names = append(names, s.dir)
	}
	if s.private {
		names = append(names, s.sockets)
	}
	return names
}

// reap reads the server's log until it ends, then waits for the process. The server holds the other end of the pipe
// for as long as it lives, its last child included; one that was killed may leave children behind for a moment.
func (s *Server) reap(log *os.File) {
	logged := make(chan struct{})
	go s.read(log, logged)
	s.err = s.cmd.Wait()
	select {
	case <-logged:
	case <-time.After(stopGrace):
	}
	_ = log.Close() // only read
	<-logged
	close(s.done)
}

func (s *Server) read(log io.Reader, done chan<- struct{}) {
	defer close(done)
	_, _ = io.Copy(s.tail, log) // ends with the pipe
}

// waitReady waits until the server has written "ready" to its postmaster.pid.
func (s *Server) waitReady(ctx context.Context) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		p, err := readPidFile(s.data())
		if err == nil && p.pid == s.cmd.Process.Pid && p.status == "ready" {
			return nil
		}
		select {
		case <-s.done:
			return fault.New(fault.Permanent, "postgres_failed", "Read PostgreSQL's own message and mend what it names.",
				fmt.Errorf("postgres ended while it started (%w): %s", s.err, s.tail.text()))
		case <-ctx.Done():
			return fault.New(fault.Transient, "postgres_failed", "PostgreSQL did not become ready in time; it may still recover.",
				fmt.Errorf("wait for postgres: %w: %s", ctx.Err(), s.tail.text()))
		case <-tick.C:
		}
	}
}

// URL returns the connection string of Database as Role.
func (s *Server) URL() string { return s.URLOf(Role, Database) }

// URLOf returns the connection string of a database as a user. There is no password: the socket's folder is the guard.
func (s *Server) URLOf(user, database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(user), Path: "/" + database, RawQuery: url.Values{
		"host": {s.sockets}, "port": {strconv.Itoa(port)}, "sslmode": {"disable"},
	}.Encode()}
	return u.String()
}

// Pid returns the process id of the server.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Exited is closed when the server process has ended, by Stop or by itself.
func (s *Server) Exited() <-chan struct{} { return s.done }

// LogTail returns the last lines that the server has logged.
func (s *Server) LogTail() string { return s.tail.text() }

// Stop shuts the server down: it disconnects its clients, writes a checkpoint and ends (SIGINT, "fast"). When ctx ends
// first, the server is told to end at once (it will recover from its log at the next start), and killed if it does not.
// Stop returns when the process is gone. It may be called more than once, and after the server has ended by itself.
func (s *Server) Stop(ctx context.Context) error {
	_ = s.cmd.Process.Signal(syscall.SIGINT) // fails only if it has ended
	select {
	case <-s.done:
	case <-ctx.Done():
	}
	return errors.Join(s.end(stopGrace), s.release())
}

// Restart ends the server at once, as a crash would, unless it has ended already, and starts it again: same folder, same
// URL. Not at the same time as another method; the channel of Exited is a new one.
func (s *Server) Restart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := s.end(stopGrace); err != nil {
		return err
	}
	s.dog.dismiss()
	if err := stopStale(ctx, s.data()); err != nil {
		return err
	}
	return s.run(ctx)
}

// end makes sure that the process is gone; it has grace to end by SIGQUIT.
func (s *Server) end(grace time.Duration) error {
	_ = s.cmd.Process.Signal(syscall.SIGQUIT) // fails only if it has ended
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-s.done:
		return nil
	case <-timer.C:
	}
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill postgres: %w", err)
	}
	<-s.done
	return nil
}

// release gives back what the server held besides its process.
func (s *Server) release() error {
	var err error
	s.once.Do(func() {
		if s.dog != nil {
			s.dog.dismiss()
		}
		for _, name := range s.trash() {
			err = errors.Join(err, os.RemoveAll(name))
		}
		if s.lock != nil {
			err = errors.Join(err, s.lock.Close())
		}
	})
	return err
}

// arguments returns the settings that must hold whatever postgresql.conf says.
func arguments(data, sockets string, durable bool) []string {
	settings := []string{
		"listen_addresses=",
		"port=" + strconv.Itoa(port),
		"unix_socket_directories=" + sockets,
		"unix_socket_permissions=0700",
		"external_pid_file=",
		"logging_collector=off",
		"log_destination=stderr",
		// Statements and values hold subjects and addresses.
		"log_statement=none",
		"log_min_duration_statement=-1",
		"log_min_error_statement=panic",
		"log_error_verbosity=terse",
	}
	if durable {
		settings = append(settings, "fsync=on", "full_page_writes=on", "jit=off") // no statement of ours gains by JIT, and a hardened unit forbids the memory it needs
	} else {
		// Shared memory in the folder goes with the folder, also after SIGKILL.
		settings = append(settings, "fsync=off", "full_page_writes=off", "autovacuum=off", "jit=off", "max_connections=200",
			"shared_buffers=32MB", "wal_level=minimal", "max_wal_senders=0", "max_wal_size=256MB", "dynamic_shared_memory_type=mmap")
	}
	args := []string{"-D", data}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	return args
}

// environment returns what the programs need: nothing of PGDATA, PGPORT and the like, and messages in English.
func environment() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
}
