package config

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// checker adds a fault for each rule that is not met.
type checker struct {
	c     *Config
	lines map[string]int
	found *faults
}

// check adds a fault about key unless ok, or unless key has one already.
func (v *checker) check(ok bool, key, problem, mend string) {
	if ok || v.found.met(key) {
		return
	}
	f := Fault{Key: key, Where: v.c.origins[key], Problem: problem, Mend: mend}
	if !strings.HasPrefix(f.Where, "$") {
		f.line = v.lines[key]
	}
	v.found.add(f)
}

// between checks that n lies in [low, high].
func between[T cmp.Ordered](v *checker, key string, n, low, high T) {
	v.check(low <= n && n <= high, key, fmt.Sprintf("%v is out of range", n), fmt.Sprintf("write a value from %v to %v", low, high))
}

// oneOf checks that s is one of allowed.
func oneOf[T ~string](v *checker, key string, s T, allowed ...T) {
	names := make([]string, len(allowed))
	for i, a := range allowed {
		names[i] = string(a)
	}
	v.check(slices.Contains(allowed, s), key, fmt.Sprintf("%q is none of its values", cut(string(s))), "write one of "+strings.Join(names, ", "))
}

// validate checks the values, each by itself and with each other.
func validate(c *Config, lines map[string]int, found *faults) {
	v := &checker{c: c, lines: lines, found: found}
	v.database()
	v.paths()
	v.admin()
	oneOf(v, "log.level", c.Log.Level, "debug", "info", "warn", "error")
	oneOf(v, "log.format", c.Log.Format, Text, JSON, Journal)
	v.scheduler()
	v.limits()
	v.check(isQualified(c.Parties.View), "parties.view", fmt.Sprintf("%q is not the name of a view", cut(c.Parties.View)),
		"write a name or schema.name, in lower-case letters, digits and _")
	between(v, "parties.timeout", c.Parties.Timeout, 10*time.Millisecond, time.Minute)
}

func (v *checker) paths() {
	v.check(filepath.IsAbs(v.c.DataDir), "data_dir", "is not an absolute path", "begin it with /")
	v.check(v.c.SpoolDir == "" || filepath.IsAbs(v.c.SpoolDir), "spool_dir", "is not an absolute path", "begin it with /, or take the key out")
	if !filepath.IsAbs(v.c.SpoolDir) {
		return
	}
	if info, err := os.Stat(v.c.SpoolDir); err != nil || !info.IsDir() {
		v.found.warn("spool_dir %s is no directory that is there: large messages cannot be read until it is", v.c.SpoolDir)
	}
}

func (v *checker) admin() {
	listen := v.c.Admin.Listen
	if listen == "" {
		return
	}
	host, port, err := net.SplitHostPort(listen)
	n, portErr := strconv.ParseUint(port, 10, 16)
	v.check(err == nil && portErr == nil, "admin.listen", fmt.Sprintf("%q is not an address to listen on", cut(listen)),
		`write host:port, such as 127.0.0.1:8025, or "" to turn it off`)
	if err != nil || portErr != nil {
		return
	}
	ip := net.ParseIP(host)
	v.check(ip != nil || host == "localhost" || host == "", "admin.listen", fmt.Sprintf("%q is not an IP address", cut(host)), "write the address of an interface, such as 127.0.0.1")
	if host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		v.found.warn("admin.listen %s can be reached from other hosts: health is shown there without a password", listen)
	}
	if n == 0 {
		v.found.warn("admin.listen has port 0: the system chooses the port at every start")
	}
}

func (v *checker) scheduler() {
	s := v.c.Scheduler
	between(v, "scheduler.workers", s.Workers, 1, 1000)
	between(v, "scheduler.per_host", s.PerHost, 1, 1000)
	between(v, "scheduler.heartbeat", s.Heartbeat, time.Second, time.Minute)
	between(v, "scheduler.stale_after", s.StaleAfter, 3*time.Second, time.Hour)
	between(v, "scheduler.drain", s.Drain, 0, time.Hour)
	if !v.found.met("scheduler.workers") {
		v.check(s.PerHost <= s.Workers, "scheduler.per_host", fmt.Sprintf("%d is more than scheduler.workers (%d)", s.PerHost, s.Workers),
			"lower it, or raise scheduler.workers")
	}
	if !v.found.met("scheduler.heartbeat") {
		v.check(s.StaleAfter >= 3*s.Heartbeat, "scheduler.stale_after", fmt.Sprintf("%v is less than three times scheduler.heartbeat (%v)", s.StaleAfter, s.Heartbeat),
			fmt.Sprintf("write %v or more: otherwise one late heartbeat makes daemons take each other's work", 3*s.Heartbeat))
	}
}

func (v *checker) limits() {
	l := v.c.Limits
	between(v, "limits.batch_messages", l.BatchMessages, 1, 1000)
	between(v, "limits.batch_octets", l.BatchOctets, 64<<10, 256<<20)
	between(v, "limits.octets_in_flight", l.OctetsInFlight, 1<<20, 1<<40)
	between(v, "limits.tries", l.Tries, 1, 100)
	if !v.found.met("limits.batch_octets") {
		v.check(l.BatchOctets <= l.OctetsInFlight, "limits.octets_in_flight",
			fmt.Sprintf("%v is less than limits.batch_octets (%v)", l.OctetsInFlight, l.BatchOctets), "raise it, or lower limits.batch_octets")
	}
}

var identifier = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

// isQualified reports whether name is name or schema.name.
func isQualified(name string) bool {
	schema, rest, qualified := strings.Cut(name, ".")
	return identifier.MatchString(schema) && (!qualified || identifier.MatchString(rest))
}
