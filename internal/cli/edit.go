package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/admin"
)

func (p *Program) editCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "edit KIND NAME",
		Short:             "Change an object in an editor",
		Long:              "Change an object in $VISUAL, $EDITOR, or vi. A change that somebody else makes meanwhile is not overwritten.",
		ValidArgsFunction: p.completeRefs,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := parseRef(args)
			if err != nil {
				return err
			}
			if r.kind == v1.KindFile {
				return usagef("%s: files are what lies in their source; they cannot be edited", r)
			}
			return p.ask(cmd.Context(), func(ctx context.Context, c Connection) error { return p.edit(ctx, c, r) })
		},
	}
}

// edit opens the editor again with the mistakes on top until the text is right or unchanged. A text that was typed in vain is kept.
func (p *Program) edit(ctx context.Context, c Connection, r ref) error {
	live, err := get1(ctx, c, r)
	if err != nil {
		return err
	}
	original, err := editable(live)
	if err != nil {
		return fmt.Errorf("encode %s: %w", r, err)
	}
	file, err := os.CreateTemp("", "cbctl-edit-*.yaml")
	if err != nil {
		return fmt.Errorf("make a file to edit: %w", err)
	}
	file.Close()
	kept := false
	defer func() {
		if kept {
			fmt.Fprintf(p.Err, "What you typed is kept in %s\n", file.Name())
			return
		}
		_ = os.Remove(file.Name())
	}()
	for text, mistake := original, error(nil); ; {
		edited, err := p.runEditor(ctx, file.Name(), withComments(text, r, mistake))
		switch {
		case err != nil:
			return err
		case bytes.Equal(edited, original):
			fmt.Fprintln(p.Err, "Nothing changed.")
			return nil
		case mistake != nil && bytes.Equal(edited, text):
			kept = true
			return mistake
		}
		text = edited
		mistake = p.applyEdited(ctx, c, r, edited)
		switch {
		case mistake == nil:
			return nil
		case admin.ReasonOf(mistake) == admin.Conflict:
			kept = true
			return mistake
		}
	}
}

// editable is an object as a text without its status, which is not the user's to change.
func editable(obj v1.Object) ([]byte, error) {
	data, err := marshalYAML(obj)
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	if err := yaml.Unmarshal(data, &fields); err != nil {
		return nil, err
	}
	delete(fields, "status")
	return marshalYAML(fields)
}

func (p *Program) applyEdited(ctx context.Context, c Connection, r ref, text []byte) error {
	docs, err := v1.Decode(text, r.String())
	if err != nil {
		return err
	}
	if len(docs) != 1 || v1.RefOf(docs[0].Object) != r.String() {
		return admin.Errorf(admin.Invalid, r.String(), "the text is of something else: kind and name stay as they are")
	}
	return p.applyObjects(ctx, c, []v1.Object{docs[0].Object}, admin.ApplyOptions{})
}

func withComments(text []byte, r ref, mistake error) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Edit %s. Lines that begin with # are left out; leave it unchanged to change nothing.\n", r)
	if mistake != nil {
		for _, line := range errorLines(mistake) {
			fmt.Fprintf(&b, "# error: %s\n", line)
		}
	}
	b.Write(text)
	return b.Bytes()
}

// runEditor shows text and returns it as it is afterwards, without comments.
func (p *Program) runEditor(ctx context.Context, name string, text []byte) ([]byte, error) {
	if err := os.WriteFile(name, text, 0o600); err != nil {
		return nil, fmt.Errorf("write %s: %w", name, err)
	}
	editor := "vi"
	for _, variable := range []string{"EDITOR", "VISUAL"} {
		if value := os.Getenv(variable); value != "" {
			editor = value
		}
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", editor+` "$1"`, "sh", name)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.In, p.Out, p.Err
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return nil, admin.Errorf(admin.Failed, editor, "ended with %v: nothing is changed", err)
		}
		return nil, fmt.Errorf("run %s: %w", editor, err)
	}
	edited, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	var kept []string
	for line := range strings.SplitAfterSeq(string(edited), "\n") {
		if !strings.HasPrefix(line, "#") {
			kept = append(kept, line)
		}
	}
	return []byte(strings.Join(kept, "")), nil
}
