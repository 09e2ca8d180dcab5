import { programs } from "../spec/words.js"
import { type Command, heading, type Known, type Model, quoted, words } from "./model.js"

const commandOf = ({ below, isEndless, known, path, slots }: Command): string => {
  const sets = [
    ...(below.length > 0 ? [`below=${words(below.map(({ name }) => name))}`] : []),
    ...(slots.length > 0 ? [`slots=${words(slots.map(({ takes }) => takes))}`] : []),
    ...(isEndless ? ["endless=1"] : []),
    `known=${words(known)}`
  ]
  return `  ${quoted(path)}) ${sets.join(" ")} ;;`
}

const optionOf = ({ id, isRepeated, names, takes }: Known): string =>
  `  ${id}) names=${words(names)} takes=${quoted(takes)} repeats=${isRepeated ? "1" : "''"} ;;`

/** The completions for bash, from 3.2 on. They do without the package bash-completion. */
export const bash = ({ commands, options }: Model): string => `${heading("bash")}
# shellcheck shell=bash disable=SC2016,SC2034

# Sets below to the commands of the group $1, slots to what the arguments of the command $1 take, endless if the last may be repeated,
# and known to its options.
_effect_runpod_command() {
  below=() slots=() endless='' known=()
  case $1 in
${commands.map(commandOf).join("\n")}
  esac
}

# Sets names to those of the option $1, takes to what it takes, and repeats if it may be given again.
_effect_runpod_option() {
  case $1 in
${options.map(optionOf).join("\n")}
  esac
}

# Sets plain to a word without its quotes, quote to one that is still open, and tail to what follows that one.
_effect_runpod_plain() {
  local rest=$1 chunk
  plain='' quote='' tail=''
  while [[ -n $rest ]]; do
    case $quote in
    \\')
      chunk=\${rest%%\\'*}
      plain+=$chunk
      if [[ $chunk == "$rest" ]]; then return 0; fi
      quote='' rest=\${rest:\${#chunk}+1}
      ;;
    \\")
      chunk=\${rest%%[\\"\\\\]*}
      plain+=$chunk rest=\${rest:\${#chunk}}
      case $rest in
      \\"*) quote='' rest=\${rest:1} ;;
      \\\\*)
        if [[ \${rest:1:1} != [\\"\\\\\\$\\\`] ]]; then plain+=\\\\; fi
        plain+=\${rest:1:1} rest=\${rest:2}
        ;;
      esac
      ;;
    *)
      chunk=\${rest%%[\\'\\"\\\\]*}
      plain+=$chunk rest=\${rest:\${#chunk}}
      case $rest in
      \\\\*) plain+=\${rest:1:1} rest=\${rest:2} ;;
      ?*) quote=\${rest:0:1} rest=\${rest:1} tail=$rest ;;
      esac
      ;;
    esac
  done
}

# Quotes what is added, for a place within the open quote if there is one.
_effect_runpod_quote() {
  local index word sign
  for ((index = 0; index < \${#COMPREPLY[@]}; index++)); do
    word=\${COMPREPLY[index]}
    case $quote in
    \\') word=\${word//\\'/\\'\\\\\\'\\'} ;;
    \\") for sign in \\\\ \\" \\$ \\\`; do word=\${word//"$sign"/\\\\$sign}; done ;;
    *) printf -v word %q "$word" ;;
    esac
    COMPREPLY[index]=$word
  done
}

# Has Readline quote what is added. Bash 3 cannot ask for it.
_effect_runpod_quote_later() {
  if type -t compopt >/dev/null; then
    compopt -o filenames 2>/dev/null || :
  else
    _effect_runpod_quote
  fi
}

# Adds the words that begin with the current one. Readline replaces what is behind the head of that.
_effect_runpod_add() {
  local word
  for word; do
    if [[ $word == "$current"* ]]; then COMPREPLY+=("\${word:\${#head}}"); fi
  done
}

# Prints the files that begin with $1$2, with $3 instead of $1, and folders with $4 behind them.
_effect_runpod_list() {
  local file
  set +efu
  unset GLOBIGNORE
  shopt -u failglob
  shopt -s nullglob dotglob
  if [[ $(bind -v 2>/dev/null) == *'completion-ignore-case on'* ]]; then shopt -s nocaseglob; fi
  if [[ /$2 == */.. ]]; then printf '%s\\n' "$3$2/"; fi
  for file in "$1$2"*; do
    if [[ $file == *$'\\n'* ]]; then continue; fi
    if [[ -d $file ]]; then file+=$4; fi
    printf '%s\\n' "$3\${file:\${#1}}"
  done
}

# Adds the files that begin with $2, each behind $1.
_effect_runpod_files() {
  local prefix=$1 typed=$2 raw='' shown='' real='' slash=/ files file
  local home='^~[A-Za-z0-9._-]*' variable='^"?(\\$([A-Za-z_][A-Za-z0-9_]*)|\\$\\{([A-Za-z_][A-Za-z0-9_]*)\\})/'
  # Readline puts a slash behind a folder that it sees, and a second one within a line.
  if [[ -n $behind && \${#head} -ge \${#prefix} ]]; then slash=''; fi
  if [[ $written == "$prefix"* ]]; then raw=\${written:\${#prefix}}; fi
  if [[ -z $prefix && $raw == */* && $raw =~ $home ]]; then
    shown=\${BASH_REMATCH[0]}
    eval "real=$shown"
  elif [[ $raw =~ $variable ]]; then
    shown=\${BASH_REMATCH[1]} real=\${BASH_REMATCH[2]-}\${BASH_REMATCH[3]-}
    real=\${!real-}
  fi
  typed=\${typed:\${#shown}}
  if [[ $shown == \\$* && \${#head} -le \${#prefix} ]]; then shown=$real; fi
  files=$(_effect_runpod_list "$real" "$typed" "$shown" "$slash")
  while IFS= read -r file; do
    if [[ -n $file ]]; then
      file=$prefix$file
      COMPREPLY+=("\${file:\${#head}}")
    fi
  done <<<"$files"
}

# Adds values of what takes $1, each behind $2.
_effect_runpod_values() {
  local prefix=$2 typed=\${current:\${#2}} words=() word
  read -r -a words <<<"$1"
  case \${words[0]-} in
  choice)
    for word in "\${words[@]:1}"; do _effect_runpod_add "$prefix$word"; done
    ;;
  file)
    _effect_runpod_files "$prefix" "$typed"
    _effect_runpod_quote_later
    ;;
  json)
    if [[ -z $typed || $typed == @* ]]; then _effect_runpod_files "$prefix@" "\${typed#@}"; fi
    if [[ -z $typed && -z $quote && \${#words[@]} -gt 1 ]]; then
      _effect_runpod_quote
      for word in "\${words[@]:1}"; do COMPREPLY+=("\${prefix:\${#head}}'$word'"); done
    else
      if ((\${#words[@]} > 1)); then
        for word in "\${words[@]:1}"; do _effect_runpod_add "$prefix$word"; done
      fi
      _effect_runpod_quote_later
    fi
    ;;
  esac
}

# Sets names, takes and repeats to those of the option that is called $1, if the command has it.
_effect_runpod_find() {
  local id name
  for id in "\${known[@]}"; do
    _effect_runpod_option "$id"
    for name in "\${names[@]}"; do
      if [[ $name == "$1" ]]; then return 0; fi
    done
  done
  names=() takes='' repeats=''
  return 1
}

# Adds the options that may still be given.
_effect_runpod_options() {
  local id name
  for id in "\${known[@]}"; do
    _effect_runpod_option "$id"
    if [[ -z $repeats ]]; then
      for name in "\${names[@]}"; do
        if [[ $given == *" $name "* ]]; then continue 2; fi
      done
    fi
    _effect_runpod_add "\${names[@]}"
  done
}

# Sets words to those before the current one, written to the current one as far as the cursor, cut to what bash takes for that,
# later to what follows it, and behind to the rest of the line. Bash cuts words at each =, : and @; the line says what joins.
# Bash 4 cuts within quotes, too, if an = is before them.
_effect_runpod_read() {
  local line=\${COMP_LINE-} rest=\${COMP_LINE-} last=\${COMP_CWORD:-0} point index word blanks start=0 joins before=''
  local joined='^[=:]+@?$' joining='^[=:]*[=:@]$'
  point=\${COMP_POINT:-\${#line}}
  words=() later=() written='' behind=''
  for ((index = 0; index <= last; index++)); do
    word=\${COMP_WORDS[index]-} joins=''
    blanks=\${rest%%[![:space:]]*}
    if [[ -n $line && \${rest:\${#blanks}} == "$word"* ]]; then
      rest=\${rest:\${#blanks}}
      start=$((\${#line} - \${#rest}))
      rest=\${rest:\${#word}}
      _effect_runpod_plain "$written"
      if [[ -n $quote ]]; then written+=$blanks; fi
      if [[ -z $blanks || -n $quote ]]; then joins=1; fi
    else
      line=''
      if [[ $word =~ $joined || $before =~ $joining ]]; then joins=1; fi
    fi
    before=$word
    if ((index == last)) && [[ -n $line ]]; then
      behind=\${line:point}
      if ((point <= start)); then
        word=''
      elif ((point < start + \${#word})); then
        word=\${word:0:point-start}
      fi
    fi
    if [[ $index -gt 0 && -z $joins ]]; then
      words+=("$written")
      written=''
    fi
    written+=$word
  done
  cut=$word
  for ((index = last + 1; index < \${#COMP_WORDS[@]}; index++)); do later+=("\${COMP_WORDS[index]-}"); done
}

# Sets current to the current word without quotes, quote to one that is open in it, and head to what readline keeps of it
# when it replaces $1, as bash says, or what it would be.
_effect_runpod_split() {
  local part=$cut kept signs='^[=:<>|&;(]+(@?)$'
  _effect_runpod_plain "$written"
  current=$plain kept=$quote
  if [[ $# -gt 0 && -n $1 && $written == *"$1" ]]; then
    part=$1
  elif [[ $cut =~ $signs ]]; then
    part=\${BASH_REMATCH[1]}
  elif [[ $# -gt 0 && -z $1 && $cut == *[=:] ]]; then
    part=''
  elif [[ $written == *"@$cut" && $written != *[\\'\\"\\\\]* ]]; then
    part=@$cut
  elif [[ -n $quote ]]; then
    part=$tail
  fi
  _effect_runpod_plain "\${written:0:\${#written}-\${#part}}"
  head=$plain quote=$kept
}

# Reads the words before the current one: sets command to those that name it, place to the number of its arguments, given to the
# names of options, pending to what an option takes whose value is the current word, target if that is a file for a redirection,
# lost if there is no such command, and ended behind --.
_effect_runpod_parse() {
  local index word
  command='' place=0 given=' ' pending='' target='' lost='' ended=''
  _effect_runpod_command ''
  for ((index = 1; index < \${#words[@]}; index++)); do
    word=\${words[index]}
    if [[ -n $target ]]; then
      target=''
      continue
    elif [[ $word =~ $redirection && \${word:\${#BASH_REMATCH[0]}:1} != '(' ]]; then
      if [[ $word == "\${BASH_REMATCH[0]}" ]]; then target=1; fi
      continue
    fi
    _effect_runpod_plain "$word"
    word=$plain
    if [[ -n $pending ]]; then
      pending=''
    elif [[ -z $ended && $word == -- ]]; then
      ended=1
    elif [[ -z $ended && ($word == -[[:alpha:]]* || $word == --[[:alpha:]]*) ]]; then
      given+="\${word%%=*} "
      if _effect_runpod_find "\${word%%=*}" && [[ $word != *=* ]]; then pending=$takes; fi
    elif [[ -n \${below[*]-} ]]; then
      if [[ -z $ended && " \${below[*]} " == *" $word "* ]]; then
        command+=\${command:+ }$word
        _effect_runpod_command "$command"
      else
        lost=1
      fi
    else
      place=$((place + 1))
    fi
  done
  if ((\${#later[@]} > 0)); then given+="\${later[*]} "; fi
}

_effect_runpod() {
  COMPREPLY=()
  local IFS=$' \\t\\n' redirection='^[0-9]*(&?>+[|&]?|<+&?)'
  local words later written behind cut plain quote tail current head
  local command place given pending target lost ended below known slots endless names takes repeats
  _effect_runpod_read
  _effect_runpod_parse
  _effect_runpod_split \${2+"$2"}
  if [[ -n $target ]]; then
    _effect_runpod_files '' "$current"
    _effect_runpod_quote_later
  elif [[ $written =~ $redirection && $current == "\${BASH_REMATCH[0]}"* ]]; then
    _effect_runpod_files "\${BASH_REMATCH[0]}" "\${current:\${#BASH_REMATCH[0]}}"
    _effect_runpod_quote_later
  elif [[ -n $pending ]]; then
    _effect_runpod_values "$pending" ''
  elif [[ -z $ended && $current == -*=* ]]; then
    if _effect_runpod_find "\${current%%=*}"; then _effect_runpod_values "$takes" "\${current%%=*}="; fi
  elif [[ -z $ended && $current == -* ]]; then
    _effect_runpod_options
  elif [[ -n $lost ]]; then
    :
  elif [[ -n \${below[*]-} ]]; then
    if [[ -z $ended ]]; then _effect_runpod_add "\${below[@]}"; fi
  else
    if [[ -n $endless && $place -ge \${#slots[@]} ]]; then place=$((\${#slots[@]} - 1)); fi
    _effect_runpod_values "\${slots[place]-}" ''
  fi
  if [[ \${#COMPREPLY[@]} -eq 1 && \${COMPREPLY[0]} == */ ]] && type -t compopt >/dev/null; then
    compopt -o nospace 2>/dev/null || :
  fi
  return 0
}

complete -F _effect_runpod ${programs.join(" ")}
`
