import { programs } from "../spec/words.js"
import { type Command, heading, type Known, type Model, quoted, words } from "./model.js"

/** A description behind a colon. */
const described = (name: string, description: string): string => quoted(`${name}:${description.replaceAll(":", "\\:")}`)

const commandOf = ({ below, isEndless, known, path, slots }: Command): string => {
  const subcommands = below.map(({ description, name }) => `        ${described(name, description)}\n`)
  const sets = [
    ...(below.length > 0 ? [`below=(\n${subcommands.join("")}      )`] : []),
    ...(slots.length > 0 ? [`slots=${words(slots.map(({ takes }) => takes))}`] : []),
    ...(slots.length > 0 ? [`labels=${words(slots.map(({ name }) => name))}`] : []),
    ...(isEndless ? ["endless=1"] : []),
    `known=${words(known)}`
  ]
  return `    (${quoted(path)})\n${sets.map((set) => `      ${set}\n`).join("")}      ;;`
}

const optionOf = ({ description, id, isRepeated, names, takes }: Known): string =>
  `    (${id})
      names=${words(names)} about=${quoted(description.replaceAll(":", "\\:"))}
      takes=${quoted(takes)} repeats=${isRepeated ? "1" : "''"}
      ;;`

/** The completions for zsh: to be sourced, or as the file `_effect-runpod` in a folder of `fpath`. */
export const zsh = ({ commands, options }: Model): string => `#compdef ${programs.join(" ")}
${heading("zsh")}

# Sets below to the commands of the group $1, slots to what the arguments of the command $1 take and labels to what they are called,
# endless if the last may be repeated, and known to its options.
_effect_runpod_command() {
  below=() slots=() labels=() endless='' known=()
  case $1 in
${commands.map(commandOf).join("\n")}
  esac
}

# Sets names and about to those of the option $1, takes to what it takes, and repeats if it may be given again.
_effect_runpod_option() {
  case $1 in
${options.map(optionOf).join("\n")}
  esac
}

# Offers values of what takes $1, which is called $2.
_effect_runpod_values() {
  local kind ret=1 expl
  local -a choices
  choices=("\${(@s: :)1}")
  kind=$choices[1]
  shift choices
  case $kind in
    (choice) _wanted values expl $2 compadd -a choices && ret=0 ;;
    (file) _files && ret=0 ;;
    (json)
      if compset -P @; then
        _files && ret=0
      elif [[ -n $PREFIX$compstate[quote] ]]; then
        (( $#choices )) && _wanted values expl $2 compadd -a choices && ret=0
      else
        _files -P @ && ret=0
        # In quotes that are easier to read than those of zsh.
        (( $#choices )) && choices=("'"$^choices"'") && _wanted values expl $2 compadd -Q -a choices && ret=0
      fi
      (( ret )) && _message -e values $2
      ;;
    (*) _message -e values $2 ;;
  esac
  return ret
}

# Sets names, about, takes and repeats to those of the option that is called $1, if the command has it.
_effect_runpod_find() {
  local id
  for id in $known; do
    _effect_runpod_option $id
    [[ -n \${(M)names:#$1} ]] && return 0
  done
  return 1
}

# Offers the options that may still be given.
_effect_runpod_options() {
  local id
  local -a offers
  for id in $known; do
    _effect_runpod_option $id
    [[ -n $repeats || -z \${names:*given} ]] && offers+=($^names:$about)
  done
  _describe -O option offers
}

_effect_runpod() {
  local command='' place=1 pending='' value='' lost='' ended='' word about takes repeats endless
  local -a given below known slots labels names
  _effect_runpod_command ''
  for word in "\${(@)words[2,CURRENT-1]}"; do
    word=\${(Q)word}
    if [[ -n $pending ]]; then
      pending=''
    elif [[ -z $ended && $word == -- ]]; then
      ended=1
    elif [[ -z $ended && ( $word == -[[:alpha:]]* || $word == --[[:alpha:]]* ) ]]; then
      given+=(\${word%%=*})
      if _effect_runpod_find \${word%%=*} && [[ $word != *=* ]]; then pending=$takes value=$about; fi
    elif (( $#below )); then
      if [[ -z $ended && -n \${(M)\${below%%:*}:#$word} ]]; then
        command+=\${command:+ }$word
        _effect_runpod_command $command
      else
        lost=1
      fi
    else
      (( place++ ))
    fi
  done
  given+=("\${(@)words[CURRENT+1,-1]%%=*}")
  if [[ -n $endless ]] && (( place > $#slots )); then place=$#slots; fi
  if [[ -n $pending ]]; then
    _effect_runpod_values $pending $value
  elif [[ -z $ended && $PREFIX == -*=* ]]; then
    _effect_runpod_find \${PREFIX%%=*} && [[ -n $takes ]] && compset -P 1 '*=' && _effect_runpod_values $takes $about
  elif [[ -z $ended && $PREFIX == -* ]]; then
    _effect_runpod_options
  elif [[ -n $lost || ( -n $ended && $#below -gt 0 ) ]]; then
    return 1
  elif (( $#below )); then
    _describe -t commands command below
  elif (( place <= $#slots )); then
    _effect_runpod_values $slots[place] $labels[place]
  elif [[ -z $ended ]]; then
    _effect_runpod_options
  else
    return 1
  fi
}

if [[ \${funcstack[1]-} == _effect-runpod ]]; then
  _effect_runpod "$@"
elif (( \${+functions[compdef]} )); then
  compdef _effect_runpod ${programs.join(" ")}
fi
`
