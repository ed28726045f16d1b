package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/dhis2-fieldkit/fieldkit/compose"
)

// imagesName is the folder in the kit's directory that keeps the images, for places without internet.
const imagesName = "images"

func (k *Kit) imagesDir() string { return filepath.Join(k.dir, imagesName) }

// leastForContainers is what must be free on the engine's disk for the containers to be of use: a database that
// cannot write stops the clinic.
const leastForContainers = 1 << 30

// unpacked is how much larger an image is on the engine's disk than in its archive, roughly.
const unpacked = 3

// missingImages lists those of the images that the engine does not have.
func (s *stack) missingImages(ctx context.Context, references []string) ([]string, error) {
	var missing []string
	for _, reference := range references {
		_, err := s.engine.Image(ctx, reference)
		switch {
		case errors.Is(err, compose.ErrNoImage):
			missing = append(missing, reference)
		case err != nil:
			return nil, atEngine(ctx, err)
		}
	}
	return missing, nil
}

// loadImages gives the engine the images that it lacks, from the kit's folder. Nothing is loaded when one of
// them is missing, cut short or altered.
func (s *stack) loadImages(ctx context.Context, references []string) error {
	missing, err := s.missingImages(ctx, references)
	if err != nil || len(missing) == 0 {
		return err
	}
	if err := s.checkArchive(ctx, missing); err != nil {
		return err
	}
	s.kit.options.Progress.Step("loading images from " + s.kit.imagesDir())
	return atEngine(ctx, s.engine.LoadImages(ctx, s.kit.imagesDir(), missing...))
}

// checkArchive makes sure that the kit's folder holds the images, whole, and that there is room for them.
func (s *stack) checkArchive(ctx context.Context, references []string) error {
	s.kit.options.Progress.Step("checking the saved images")
	archived, err := s.engine.VerifyImages(s.kit.imagesDir(), references...)
	if err != nil {
		return atEngine(ctx, err)
	}
	var bytes uint64
	for _, image := range archived {
		bytes += uint64(image.Bytes) * unpacked
	}
	return s.room(ctx, leastForContainers+bytes)
}

// room makes sure that so many bytes are free on the engine's disk, where that can be told.
func (s *stack) room(ctx context.Context, need uint64) error {
	info, err := s.engine.Info(ctx)
	if err != nil {
		return atEngine(ctx, err)
	}
	if free, known := s.kit.options.Machine.FreeBytes(info.RootDir); known && info.Local && free < need {
		return WithHint(enginef("%.1f GB are free at %s, where the Docker engine keeps its data: the kit needs %.1f GB",
			float64(free)/1e9, info.RootDir, float64(need)/1e9), "make room there")
	}
	return nil
}

// fetchImages makes sure that the engine has the images and that the kit's folder keeps them. What the engine
// has is not asked for again.
func (s *stack) fetchImages(ctx context.Context, references []string) error {
	missing, err := s.missingImages(ctx, references)
	if err != nil {
		return err
	}
	progress := s.kit.options.Progress
	for _, reference := range missing {
		progress.Step("fetching " + reference)
		err := s.engine.Pull(ctx, reference, func(done, total int64) { progress.Count("megabytes", done/1e6, total/1e6) })
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := s.loadInstead(ctx, reference, err); err != nil {
				return err
			}
		}
	}
	if current, err := s.archiveIsCurrent(ctx, references); err != nil || current {
		return err
	}
	if err := s.roomToSave(ctx, references); err != nil {
		return err
	}
	progress.Step("saving the images for places without internet")
	return atEngine(ctx, s.engine.SaveImages(ctx, s.kit.imagesDir(), references...))
}

// loadInstead takes an image from the kit's folder when it cannot be fetched.
func (s *stack) loadInstead(ctx context.Context, reference string, reason error) error {
	if _, err := s.engine.VerifyImages(s.kit.imagesDir(), reference); err != nil {
		return WithHint(fmt.Errorf("cannot fetch the image %s: %w", reference, reason),
			"is there internet, and does the image exist? The folder %s of another kit with the same versions does as well", imagesName)
	}
	s.kit.options.Progress.Note(fmt.Sprintf("%s cannot be fetched (%v): taking the one that was saved", reference, reason))
	return atEngine(ctx, s.engine.LoadImages(ctx, s.kit.imagesDir(), reference))
}

// archiveIsCurrent tells whether the folder keeps the very images that the engine has, whole.
func (s *stack) archiveIsCurrent(ctx context.Context, references []string) (bool, error) {
	archived, err := s.engine.VerifyImages(s.kit.imagesDir(), references...)
	if err != nil {
		return false, nil //nolint:nilerr // it is written anew then
	}
	for _, reference := range references {
		image, err := s.engine.Image(ctx, reference)
		if err != nil {
			return false, atEngine(ctx, err)
		}
		if !slices.ContainsFunc(archived, func(a compose.ArchivedImage) bool { return a.Reference == reference && a.ID == image.ID }) {
			return false, nil
		}
	}
	return true, nil
}

// roomToSave makes sure that the kit's disk takes the images.
func (s *stack) roomToSave(ctx context.Context, references []string) error {
	var size uint64
	for _, reference := range references {
		image, err := s.engine.Image(ctx, reference)
		if err != nil {
			return atEngine(ctx, err)
		}
		size += uint64(image.Size)
	}
	free, known := s.kit.options.Machine.FreeBytes(s.kit.dir)
	if need := size/unpacked + leastFree; known && free < need {
		return WithHint(enginef("%.1f GB are free for %s: saving the images needs %.1f GB", float64(free)/1e9, s.kit.dir, float64(need)/1e9),
			"make room there")
	}
	return nil
}
