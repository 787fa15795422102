package fault_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/postroom/postroom/internal/fault"
)

func TestClassOf(t *testing.T) {
	inner := fault.New(fault.Auth, "login_refused", "check the password", errors.New("NO"))
	for name, c := range map[string]struct {
		err  error
		want fault.Class
	}{
		"nil":                           {nil, ""},
		"unclassified is tried again":   {errors.New("x"), fault.Transient},
		"cancelled":                     {fmt.Errorf("y: %w", context.Canceled), fault.Stopping},
		"a deadline is not a stop":      {context.DeadlineExceeded, fault.Transient},
		"classified":                    {inner, fault.Auth},
		"wrapped keeps its class":       {fault.Wrap(inner, "mailbox %d", 7), fault.Auth},
		"the outermost class counts":    {fault.New(fault.Permanent, "c", "", inner), fault.Permanent},
		"joined":                        {errors.Join(errors.New("x"), inner), fault.Auth},
		"a class before a cancel in it": {fault.New(fault.Transient, "c", "", context.Canceled), fault.Transient},
	} {
		if got := fault.ClassOf(c.err); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestDescribe(t *testing.T) {
	err := fault.Wrap(fault.New(fault.Auth, "login_refused", "check the password", errors.New("NO")), "mailbox %d", 7)
	class, code, text, hint := fault.Describe(err)
	if class != fault.Auth || code != "login_refused" || text != "mailbox 7: NO" || hint != "check the password" {
		t.Errorf("got %q %q %q %q", class, code, text, hint)
	}
	if class, code, _, hint := fault.Describe(errors.New("x")); class != fault.Transient || code != "unclassified" || hint != "" {
		t.Errorf("unclassified: got %q %q %q", class, code, hint)
	}
	if class, code, text, hint := fault.Describe(nil); class != "" || code != "" || text != "" || hint != "" {
		t.Error("nil is described as something")
	}
}

func TestWrapOfNil(t *testing.T) {
	if err := fault.Wrap(nil, "x"); err != nil {
		t.Errorf("got %v", err)
	}
	if got := fault.New(fault.Permanent, "only_a_code", "", nil).Error(); got != "only_a_code" {
		t.Errorf("got %q", got)
	}
}
