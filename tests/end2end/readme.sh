#!/bin/sh
# The commands of "Your data" in README.md, line by line as they stand there, on a generated corpus: paths under /data and
# the number of ranks are others, and every network is tiny.  readme.sh MIEN MPIRUN PROGRAMS
. "$(dirname "$0")/common.sh"
readme=$here/../../README.md
data=$work/data # where the README has /data
cd "$work" && mkdir -p build/release && ln -s "$here/../../recipes" recipes || exit 1

mien_quietly() { "$mien" "$@" >>"$work/out" 2>&1 || { wrong "mien $*"; exit 1; }; }
mien_quietly data synth --out "$work/raw" --kind affectnet,celeba,affwild2,folder --videos 12 --frames 16 --images 16 --size 32
rm -rf "$data" && mkdir "$data"
(cd raw/folder && find . -type f ! -name labels.csv | sed 's,^\./,,' | sort | awk 'BEGIN { print "file,split,expression" }
  !/,/ { print $0 (NR % 4 ? ",train,Happiness" : ",validation,Anger") }') >faces.csv
mv raw/folder "$data/faces" && mv faces.csv "$data/faces/labels.csv" || exit 1
mv raw/affectnet "$data/AffectNet" && mv raw/celeba "$data/CelebA" && mv raw/affwild2 "$data/Aff-Wild2" || exit 1

# The mien of the README: the published recipes with sizes for a test.
cat >build/release/mien <<EOF
#!/bin/sh
few="train.epochs=0 train.steps=2 train.batch=4 train.loader_threads=1 eval.stride=8 eval.batch=4"
case \$2 in
  recipes/simmim/* | recipes/affwild2/*) set -- "\$@" model.embed=8 "model.depths=[1, 1, 1, 1]" "model.heads=[1, 1, 2, 2]" \$few ;;
  recipes/wav2vec2/*) set -- "\$@" model.wav2vec2.form=own \$few ;;
  recipes/cca/*) set -- "\$@" model.width=16 model.heads=2 \$few ;;
esac
exec "$mien" "\$@"
EOF
chmod +x build/release/mien
# What a user takes from Hugging Face.
download() {
  mien_quietly train recipes/wav2vec2/base.yaml init.from= run=hub model.wav2vec2.form=own train.epochs=0 train.steps=1 \
    train.batch=4 data.stride=1
  mien_quietly weights export hub hub.safetensors --form hf-wav2vec2
  mkdir "$data/wav2vec2-base" && mv hub.safetensors "$data/wav2vec2-base/pytorch_model.bin" && rm -r runs/hub
}
# Two ranks, whatever the README says.
mpirun() { shift 2; "$mpirun" --oversubscribe --bind-to none -n 2 "$@"; }

sed -n '/^## Your data/,/^Recipes name/s/^    //p' "$readme" | sed "s,/data/,$data/,g" >lines
[ "$(wc -l <lines)" -ge 12 ] || wrong "the README has no commands any more"
export OMPI_MCA_rmaps_base_oversubscribe=1
while read -r line; do
  case $line in *"weights import"*) download ;; esac
  eval "$line" >"$work/out" 2>&1 </dev/null || { wrong "$line"; break; }
  case $line in *"train recipes/affwild2/expr"*) tells "to score it: mien eval ./runs/faces/recipe.resolved.yaml" ;; esac
done <lines
grep -q 'validation expr_f1 ' runs/faces/log.txt || wrong "a score has no name"
[ -s submission/predictions.txt ] || wrong "no submission"
done_with
