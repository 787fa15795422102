// Package fault gives errors a class, from which follows what is done about them, and a hint for the admin.
//
// It knows no protocol: imap, pop3, dial and store translate their own codes (RFC 5530, 2449, 3206, SQLSTATE) into a
// class where they meet them. An error that nobody classified is Transient: it is tried again, never dropped.
package fault

import (
	"context"
	"errors"
	"fmt"
)

// Class says what follows from an error.
type Class string

// The classes.
const (
	Transient Class = "transient" // try again, with back-off
	Auth      Class = "auth"      // the server refused the credentials: try again slowly
	Permanent Class = "permanent" // will not go away by itself: a person must change something
	Poison    Class = "poison"    // one message only: it is quarantined, the mailbox goes on
	Stopping  Class = "stopping"  // we are being stopped: not an error of anyone
)

// Error is an error with a class, a code from the package that made it, and a hint that says what to do.
type Error struct {
	Class Class
	Code  string // short, snake_case, stable: "connect_refused", "certificate_expired", "folder_missing"
	Hint  string // one sentence for the admin: what to do; may be empty
	Err   error  // what happened; never holds a secret or a message's text
}

// New returns an *Error.
func New(class Class, code, hint string, err error) *Error {
	return &Error{Class: class, Code: code, Hint: hint, Err: err}
}

// Error says what happened; the hint is printed apart.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Code
	}
	return e.Err.Error()
}

// Unwrap returns the error below.
func (e *Error) Unwrap() error { return e.Err }

// ClassOf returns the class of err: that of the outermost *Error in its chain, Stopping for context.Canceled, and
// Transient for everything else. It is "" for nil.
func ClassOf(err error) Class {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class
	}
	if errors.Is(err, context.Canceled) {
		return Stopping
	}
	return Transient
}

// Describe returns class, code, text and hint of err, for a row or a log line.
func Describe(err error) (class Class, code, text, hint string) {
	if err == nil {
		return "", "", "", ""
	}
	class, code = ClassOf(err), "unclassified"
	if e, ok := errors.AsType[*Error](err); ok {
		code, hint = e.Code, e.Hint
	}
	return class, code, err.Error(), hint
}

// Wrap adds context to err and keeps its class.
func Wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), err)
}
