package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"

	"github.com/postroom/postroom/internal/fault"
)

// report is the body of an answer.
type report struct {
	Status string   `json:"status"` // ok or failing
	Checks []result `json:"checks"`
}

// result is what one check said.
type result struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Code  string `json:"code,omitempty"`
	Error string `json:"error,omitempty"`
	Hint  string `json:"hint,omitempty"`
}

// probe runs its checks side by side, for one request at a time.
type probe struct {
	checks []Check
	slots  []chan struct{} // one for each check: it runs once at a time, however long it takes
	turn   chan struct{}
}

func newProbe(checks []Check) *probe {
	p := &probe{checks: checks, turn: make(chan struct{}, 1)}
	for range checks {
		p.slots = append(p.slots, make(chan struct{}, 1))
	}
	return p
}

// ServeHTTP answers 200 when all checks hold and 503 when not, with the report as JSON.
func (p *probe) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
	defer cancel()
	rep, status := p.run(ctx), http.StatusOK
	if rep.Status != "ok" {
		status = http.StatusServiceUnavailable
	}
	body, err := json.Marshal(rep)
	if err != nil { // strings and booleans only
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	body = append(body, '\n')
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body) // who asked is gone: nobody is left to tell
}

func (p *probe) run(ctx context.Context) report {
	results := make([]result, len(p.checks))
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return report{Status: "failing", Checks: []result{{Name: "health", Code: "busy", Error: "earlier health requests have not ended"}}}
	}
	var wg sync.WaitGroup
	for i, c := range p.checks {
		wg.Go(func() { results[i] = describe(c.Name, p.one(ctx, i)) })
	}
	wg.Wait()
	rep := report{Status: "ok", Checks: results}
	for _, r := range results {
		if !r.OK {
			rep.Status = "failing"
		}
	}
	return rep
}

var (
	errHangs   = errors.New("the check does not answer in time")
	errPanics  = errors.New("the check failed in itself")
	errPending = errors.New("an earlier run of the check has not ended")
)

// one runs check i, and waits for it no longer than ctx lives, even if the check does.
func (p *probe) one(ctx context.Context, i int) error {
	select {
	case p.slots[i] <- struct{}{}:
	default:
		return fault.New(fault.Transient, "check_hangs", "", errPending)
	}
	done := make(chan error, 1)
	go func() {
		defer func() { <-p.slots[i] }()
		defer func() {
			if v := recover(); v != nil {
				done <- fault.New(fault.Permanent, "check_panics", "report this as a bug", fmt.Errorf("%w (%T)", errPanics, v))
			}
		}()
		done <- p.checks[i].Run(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fault.New(fault.Transient, "check_hangs", "", errHangs)
	}
}

func describe(name string, err error) result {
	if err == nil {
		return result{Name: name, OK: true}
	}
	_, code, text, hint := fault.Describe(err)
	return result{Name: name, Code: code, Error: text, Hint: hint}
}
