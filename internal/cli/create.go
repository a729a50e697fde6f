package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "clusterbackup/api/v1"
	"clusterbackup/internal/admin"
)

func (p *Program) createCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "create",
		Short: "Add a source, a location, a join token, or an administrator",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usagef("create what? source, location, token or identity")
		},
	}
	c.AddCommand(p.createSourceCommand(), p.createLocationCommand(), p.createTokenCommand(), p.createIdentityCommand())
	return c
}

// createFlags are those of every create that makes an object.
type createFlags struct {
	host, path     string
	labels         []string
	dryRun, output string
}

func (f *createFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.host, "host", "", "the `HOST` whose disk it is on")
	c.Flags().StringVar(&f.path, "path", "", "absolute path of the `FOLDER` there")
	c.Flags().StringSliceVar(&f.labels, "label", nil, "label, `KEY=VALUE`")
	addDryRun(c, &f.dryRun)
	c.Flags().StringVarP(&f.output, "output", "o", "", "print the object instead of a line: yaml or json")
}

func (f *createFlags) check() error {
	switch {
	case f.host == "":
		return usagef("--host is missing: whose disk is it on?")
	case f.path == "":
		return usagef("--path is missing: the absolute path of the folder")
	case f.output != "" && f.output != "yaml" && f.output != "json" && f.output != "name":
		return usagef("%q is no output format: it is yaml, json or name", f.output)
	}
	return checkDryRun(f.dryRun)
}

func (f *createFlags) labelMap() (map[string]string, error) {
	if len(f.labels) == 0 {
		return nil, nil
	}
	m := map[string]string{}
	for _, label := range f.labels {
		key, value, ok := strings.Cut(label, "=")
		if !ok {
			return nil, usagef("--label %s: write KEY=VALUE", label)
		}
		m[key] = value
	}
	return m, nil
}

func (p *Program) createSourceCommand() *cobra.Command {
	var f createFlags
	var replicas, most int32
	var spread string
	var exclude []string
	var interval time.Duration
	c := &cobra.Command{
		Use:     "source NAME --host HOST --path FOLDER",
		Short:   "Name a tree to be protected",
		Example: "  cbctl create source photos --host mini --path /tank/photos --replicas 2",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			src := v1.New(v1.KindSource).(*v1.Source)
			src.Name = args[0]
			src.Spec = v1.SourceSpec{Host: v1.HostName(f.host), Path: f.path, MinReplicas: replicas, MaxReplicas: most, Spread: spread, Exclude: exclude}
			if cmd.Flags().Changed("replicas") && replicas < 1 {
				return usagef("--replicas %d: it must be at least 1", replicas)
			}
			if cmd.Flags().Changed("scan-interval") {
				src.Spec.ScanInterval = &metav1.Duration{Duration: interval}
			}
			return p.createObject(cmd.Context(), src, &f)
		},
	}
	f.add(c)
	c.Flags().Int32Var(&replicas, "replicas", 0, "how many other hosts hold each file (the cluster's default: 2)")
	c.Flags().Int32Var(&most, "max-replicas", 0, "up to how many replicas spare room is used for")
	c.Flags().StringVar(&spread, "spread", "", "at most one replica for each value of this host label `KEY` (default: a host)")
	c.Flags().StringArrayVar(&exclude, "exclude", nil, "rule as in .gitignore; may be given several times")
	c.Flags().DurationVar(&interval, "scan-interval", 0, "time between scans (default 15m)")
	return c
}

func (p *Program) createLocationCommand() *cobra.Command {
	var f createFlags
	var capacity, reserve string
	c := &cobra.Command{
		Use:   "location NAME --host HOST --path FOLDER (--capacity Q | --reserve Q)",
		Short: "Lend space on a host",
		Example: `  cbctl create location rpi1-usb --host rpi1 --path /srv/backup --capacity 700Gi
  cbctl create location rack-a --host rack --path /pool/backup --reserve 50Gi`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l := v1.New(v1.KindLocation).(*v1.Location)
			l.Name = args[0]
			l.Spec = v1.LocationSpec{Host: v1.HostName(f.host), Path: f.path}
			var err error
			if l.Spec.Capacity, err = quantityFlag("capacity", capacity); err != nil {
				return err
			}
			if l.Spec.Reserve, err = quantityFlag("reserve", reserve); err != nil {
				return err
			}
			return p.createObject(cmd.Context(), l, &f)
		},
	}
	f.add(c)
	c.Flags().StringVar(&capacity, "capacity", "", "at most this many `BYTES` there (700Gi)")
	c.Flags().StringVar(&reserve, "reserve", "", "always leave this many `BYTES` of the file system free (50Gi)")
	return c
}

func quantityFlag(name, text string) (*resource.Quantity, error) {
	if text == "" {
		return nil, nil
	}
	q, err := resource.ParseQuantity(text)
	if err != nil {
		return nil, usagef("--%s %s: it is no amount of bytes (700Gi, 50G, 1048576)", name, text)
	}
	return &q, nil
}

// createObject checks and creates an object that must not exist yet.
func (p *Program) createObject(ctx context.Context, obj v1.Object, f *createFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	labels, err := f.labelMap()
	if err != nil {
		return err
	}
	obj.SetLabels(labels)
	if errs := v1.Validate(obj); len(errs) > 0 {
		return usagef("%s: %s", errs[0].Field, v1.Explain(errs[0]))
	}
	if f.dryRun == "client" {
		return p.printCreated(obj, f, " (dry run)")
	}
	return p.ask(ctx, func(ctx context.Context, c Connection) error {
		opts := admin.ApplyOptions{Create: true, DryRun: f.dryRun == "server"}
		if f.output == "" {
			return p.applyObjects(ctx, c, []v1.Object{obj}, opts)
		}
		applied, err := c.Apply(ctx, []v1.Object{obj}, opts)
		if err != nil {
			return err
		}
		return p.printCreated(applied[0].Object, f, "")
	})
}

func (p *Program) printCreated(obj v1.Object, f *createFlags, suffix string) error {
	switch f.output {
	case "json":
		return printObject(p.out, "json", obj)
	case "yaml":
		_, err := p.out.WriteString(userPart(obj))
		return err
	case "name":
		_, err := fmt.Fprintln(p.out, v1.RefOf(obj))
		return err
	}
	_, err := fmt.Fprintf(p.out, "%s created%s\n", v1.RefOf(obj), suffix)
	return err
}

func (p *Program) createTokenCommand() *cobra.Command {
	var ttl time.Duration
	c := &cobra.Command{
		Use:   "token",
		Short: "Make a token with which one host may join",
		Long: `Make a token with which one host may join, once, at the host that made it.

The token carries the fingerprint of the cluster's certificate authority, so keep it as you would a password until it is used.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if ttl <= 0 {
				return usagef("--ttl %v: it must be positive", ttl)
			}
			return p.ask(cmd.Context(), func(ctx context.Context, c Connection) error {
				token, err := c.CreateToken(ctx, ttl)
				if err != nil {
					return err
				}
				fmt.Fprintln(p.out, token.Token)
				if err := p.out.Flush(); err != nil {
					return err
				}
				fmt.Fprintf(p.Err, "Good for one host until %s. On that host:\n  cbd join %s --token %s --name NAME\n",
					token.Expires.Local().Format("2006-01-02 15:04:05"), token.Address, token.Token)
				return nil
			})
		},
	}
	c.Flags().DurationVar(&ttl, "ttl", time.Hour, "how long it is good")
	return c
}

func (p *Program) createIdentityCommand() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:     "identity NAME --out FILE",
		Short:   "Make an administrator's credential, to direct the cluster from elsewhere",
		Example: "  cbctl create identity ada --out ada.identity\n  cbctl --server mini.lan:7420 --identity ada.identity get sources",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if out == "" {
				return usagef("--out is missing: where to write the credential")
			}
			if err := v1.ValidateName(args[0]); err != nil {
				return usagef("%v", err)
			}
			return p.ask(cmd.Context(), func(ctx context.Context, c Connection) error { return p.createIdentity(ctx, c, args[0], out) })
		},
	}
	c.Flags().StringVar(&out, "out", "", "`FILE` to write (0600); it must not exist. - is standard output")
	return c
}

// createIdentity makes the file first: a credential that could not be kept should not have been made.
func (p *Program) createIdentity(ctx context.Context, c Connection, name, out string) error {
	if out == "-" {
		id, err := c.CreateIdentity(ctx, name)
		if err == nil {
			_, err = p.out.Write(id.Contents)
		}
		return err
	}
	file, err := os.OpenFile(out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return admin.Errorf(admin.Conflict, out, "exists already").WithHint("choose another name, or remove it")
	}
	if err != nil {
		return fileFault(out, err)
	}
	id, err := c.CreateIdentity(ctx, name)
	if err == nil {
		_, err = file.Write(id.Contents)
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(out))
	}
	fmt.Fprintf(p.out, "identity/%s created\n", name)
	fmt.Fprintf(p.Err, "Good until %s. Whoever has %s directs this cluster.\n", id.Expires.Local().Format("2006-01-02"), out)
	return nil
}
