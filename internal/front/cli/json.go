package cli

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
)

// form is how an answer is wanted.
type form struct {
	json bool
	name string
}

// flags adds --json and --format to a command.
func (f *form) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON, for programs")
	cmd.Flags().StringVar(&f.name, "format", "table", "`FORM` of the answer: table or json")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		switch f.name {
		case "json":
			f.json = true
		case "table":
		default:
			return usage("", "--format %q is not one of table, json", f.name)
		}
		return nil
	}
}

// document writes a value as an indented JSON document.
func (p *printer) document(v any) error {
	b, err := encode(v)
	if err != nil {
		return err
	}
	_, err = p.Write(b)
	return err
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode the answer: %w", err)
	}
	return cleanJSON(b.Bytes()), nil
}

// list is a slice that encodes as [] where it is nil, so that programs need not tell the two apart.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
