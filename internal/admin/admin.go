// Package admin serves the daemon's health over HTTP, for monitoring on the same machine.
//
// It answers GET and HEAD of /livez and /readyz and nothing else. It reads no request body, asks for no password and
// shows neither addresses nor mail: what a check says is the text and hint of its error. Invariants: a check is bounded
// in time and never runs more than once at a time, and so is every request and connection; a check that panics has
// failed and stops nothing.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"

	"github.com/postroom/postroom/internal/fault"
)

// How long things may take, and how many there may be.
const (
	checkTimeout   = 3 * time.Second // all checks of one answer
	headerTimeout  = 5 * time.Second
	requestTimeout = 10 * time.Second
	idleTimeout    = 30 * time.Second
	drainTimeout   = 2 * time.Second // for running requests, when the daemon stops
	headerOctets   = 8 << 10
	connections    = 32
)

// Check is one thing that must hold.
type Check struct {
	Name string // snake_case: "database", "schema", "heartbeat", "scheduler"
	Run  func(ctx context.Context) error
}

// Server answers for the daemon's health.
type Server struct {
	live, ready *probe
	log         *slog.Logger
}

// New returns a Server. The process is alive when all of live hold (the scheduler's loop goes round), and ready when
// live and ready hold (the database can be reached, its schema is right, the heartbeat is fresh).
func New(live, ready []Check, log *slog.Logger) *Server {
	return &Server{
		live:  newProbe(live),
		ready: newProbe(append(append([]Check(nil), live...), ready...)),
		log:   log,
	}
}

// Listen opens addr (host:port; a host name other than localhost is refused by config). The caller gives the listener
// to Serve, which closes it.
func Listen(ctx context.Context, addr string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fault.New(fault.Permanent, "admin_listen", `set admin.listen to a free address, or to "" to turn it off`,
			fmt.Errorf("listen for health requests: %w", err))
	}
	return l, nil
}

// Handler returns the handler of the paths.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /livez", s.live)
	mux.Handle("GET /readyz", s.ready)
	return mux
}

// Serve answers requests on l until ctx ends, then closes l, waits a moment for running requests and returns nil. It
// fails only if l does.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      requestTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerOctets,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(netutil.LimitListener(l, connections)) }()
	select {
	case err := <-done:
		return fmt.Errorf("answer health requests: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		s.log.Debug("health requests were cut off", "err", err)
		_ = server.Close() // whoever still waits has had its time
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("answer health requests: %w", err)
	}
	return nil
}
