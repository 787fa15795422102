package config

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"
)

// envString is a value from the environment: the only text that may become a number or a boolean.
type envString string

// valueError is why a value is refused, and what to write.
type valueError struct {
	problem string
	mend    string
}

func (b *valueError) Error() string { return b.problem + ": " + b.mend }

// decode sets the field of l from v, strictly: no value changes its type silently. Without a value the default stays.
func decode(v *viper.Viper, l leaf, where string, line int, found *faults) {
	if v.Get(l.key) == nil {
		return
	}
	err := v.UnmarshalKey(l.key, l.value.Addr().Interface(), func(dc *mapstructure.DecoderConfig) {
		dc.WeaklyTypedInput = false
		dc.DecodeHook = mapstructure.DecodeHookFuncType(convert)
	})
	if err == nil {
		return
	}
	f := Fault{Key: l.key, Where: where, line: line, Problem: "has a value of the wrong kind", Mend: "see configs/postroom.yaml"}
	if b, ok := errors.AsType[*valueError](err); ok {
		f.Problem, f.Mend = b.problem, b.mend
	}
	found.add(f)
}

// convert turns data into a value of type to, or says why not.
func convert(_, to reflect.Type, data any) (any, error) {
	text, isEnv := data.(envString)
	s, isText := data.(string)
	if isEnv {
		s, isText = string(text), true
	}
	switch {
	case to == reflect.TypeFor[time.Duration]():
		return toDuration(s, isText, data)
	case to == reflect.TypeFor[Octets]():
		return toOctets(s, isText, data)
	case to.Kind() == reflect.String:
		if !isText {
			return nil, &valueError{fmt.Sprintf("%v is not text", brief(data)), "write it in quotes"}
		}
		return s, nil
	case to.Kind() == reflect.Int:
		return toInt(s, isEnv, data)
	case to.Kind() == reflect.Bool:
		return toBool(s, isEnv, data)
	}
	return data, nil
}

func toDuration(s string, isText bool, data any) (any, error) {
	if !isText {
		return nil, &valueError{fmt.Sprintf("%v has no unit", brief(data)), fmt.Sprintf("write %vs for seconds or %vm for minutes", brief(data), brief(data))}
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		if _, err := strconv.Atoi(s); err == nil {
			return nil, &valueError{fmt.Sprintf("%q has no unit", s), fmt.Sprintf("write %ss for seconds or %sm for minutes", s, s)}
		}
		return nil, &valueError{fmt.Sprintf("%q is not a duration", s), "write a number and a unit (ms, s, m, h), such as 5m or 24h"}
	}
	return d, nil
}

func toOctets(s string, isText bool, data any) (any, error) {
	if !isText {
		return nil, &valueError{fmt.Sprintf("%v has no unit", brief(data)), "write a whole number and a unit (B, KiB, MiB, GiB), such as 25MiB"}
	}
	o, err := ParseOctets(s)
	if err != nil {
		return nil, &valueError{fmt.Sprintf("%q is not a size with a unit", s), "write a whole number and a unit (B, KiB, MiB, GiB), such as 25MiB"}
	}
	return o, nil
}

func toInt(s string, isEnv bool, data any) (any, error) {
	if n, ok := data.(int); ok {
		return n, nil
	}
	if n, err := strconv.Atoi(s); isEnv && err == nil {
		return n, nil
	}
	return nil, &valueError{fmt.Sprintf("%v is not a whole number", brief(data)), "write it in digits, without quotes or unit"}
}

func toBool(s string, isEnv bool, data any) (any, error) {
	if b, ok := data.(bool); ok {
		return b, nil
	}
	if isEnv && (s == "true" || s == "false") {
		return s == "true", nil
	}
	return nil, &valueError{fmt.Sprintf("%v is not true or false", brief(data)), "write true or false, without quotes"}
}

// brief shows a value that was refused; lists and sections only by what they are.
func brief(data any) string {
	switch d := data.(type) {
	case []any:
		return "a list"
	case map[string]any:
		return "a section"
	case string:
		return strconv.Quote(cut(d))
	case envString:
		return strconv.Quote(cut(string(d)))
	}
	return cut(fmt.Sprint(data))
}

func cut(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return s
}
