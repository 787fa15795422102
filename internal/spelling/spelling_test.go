package spelling_test

import (
	"strings"
	"testing"

	"github.com/postroom/postroom/internal/spelling"
)

func TestNearest(t *testing.T) {
	keys := []string{"workers", "per_host", "heartbeat", "drain", "port", "host"}
	for name, want := range map[string]string{
		"worker":                       "workers",
		"heart_beat":                   "heartbeat",
		"Drain":                        "drain",
		"dran":                         "drain",
		"perhost":                      "per_host",
		"hort":                         "host", // port is as near, and comes later
		"frobnicate":                   "",
		"":                             "",
		strings.Repeat("workers", 100): "",
	} {
		if got := spelling.Nearest(name, keys); got != want {
			t.Errorf("%.20q: got %q, want %q", name, got, want)
		}
	}
	if got := spelling.Nearest("x", nil); got != "" {
		t.Errorf("without candidates: got %q", got)
	}
	if keys[0] != "workers" {
		t.Error("the caller's list was sorted")
	}
}
